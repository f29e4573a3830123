import { EventEmitter } from 'node:events';
import { describe, expect, test } from 'vitest';
import { waitMs } from '../../src/model/waits.ts';
import { aborted, Opened, watchStopSignals } from '../../src/wiring/opened.ts';
import { realClock } from '../support/clock.ts';
import { recordingLog } from '../support/log.ts';
import { shows } from '../support/waits.ts';

const NEVER = async (): Promise<never> => await new Promise<never>(() => undefined);
const PATIENT = new AbortController().signal;

function scene(limits: { readonly partMs?: number; readonly allMs?: number } = {}) {
  const log = recordingLog();
  const closed: string[] = [];
  const opened = new Opened({ log, clock: realClock, ...limits });
  const add = (name: string): void => opened.add(name, async () => closed.push(name));
  return { log, closed, opened, add };
}

describe('a stop', () => {
  test('closes everything backwards, whatever fails', async () => {
    const { log, closed, opened, add } = scene();
    add('first');
    opened.add('broken', async () => await Promise.reject(new Error('no')));
    add('last');
    expect(await opened.close(PATIENT)).toBe('closed');
    expect(closed).toEqual(['last', 'first']);
    expect(log.lines).toMatchObject([{ level: 'warn', details: { part: 'broken' } }]);
    expect(await opened.close(PATIENT)).toBe('closed');
    expect(closed).toHaveLength(2);
  });

  test(`leaves a part behind that hangs, and closes the others ${shows('service.stop-part')}`, async () => {
    const { log, closed, opened, add } = scene({ partMs: 50 });
    add('first');
    opened.add('hanging', NEVER);
    expect(await opened.close(PATIENT)).toBe('closed');
    expect(closed).toEqual(['first']);
    expect(log.lines).toMatchObject([{ level: 'warn', details: { part: 'hanging', limitMs: 50 } }]);
  });

  test(`gives a part its own number, and all of them one ${shows(['service.stop-database', 'service.stop'])}`, async () => {
    const { log, closed, opened, add } = scene({ partMs: 1, allMs: 100 });
    add('first');
    opened.add('slow database', NEVER, waitMs('service.stop-database'));
    expect(await opened.close(PATIENT)).toBe('late');
    expect(closed).toEqual([]);
    expect(log.lines).toMatchObject([{ level: 'error', details: { part: 'slow database', outcome: 'late' } }]);
  });

  test('ends at once for whoever cannot wait', async () => {
    const { opened } = scene();
    const hurry = new AbortController();
    opened.add('hanging', async () => {
      hurry.abort();
      await NEVER();
    });
    expect(await opened.close(hurry.signal)).toBe('hurried');
  });
});

describe('signals', () => {
  test.each([
    ['SIGTERM', 'SIGTERM'],
    ['SIGTERM', 'SIGINT'],
    ['SIGINT', 'SIGTERM'],
  ] as const)('%s asks to stop, and %s after it says that nobody waits', async (one, two) => {
    // Of a process only its events are looked at; a real one would stop the test.
    const process = new EventEmitter() as unknown as NodeJS.Process;
    const stop = watchStopSignals(process);
    process.emit(one, one);
    expect(await stop.first).toBe(one);
    expect(stop.hurry.aborted).toBe(false);
    process.emit(two, two);
    expect(await aborted(stop.hurry)).toBeNull();
    stop.forget();
    expect([process.listenerCount('SIGTERM'), process.listenerCount('SIGINT')]).toEqual([0, 0]);
  });
});
