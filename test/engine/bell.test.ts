import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AgentBell } from '../../src/engine/bell.ts';
import type { AgentId } from '../../src/model/ids.ts';

const A: AgentId = 'ag-000000000001';
const B: AgentId = 'ag-000000000002';

describe('AgentBell', () => {
  test('tells at once what happened after the mark', async () => {
    const bell = new AgentBell();
    const mark = bell.now();
    bell.ring([B, A]);

    expect(await bell.wait(A, mark, AbortSignal.abort())).toBe(true);
    expect(await bell.wait(B, mark, AbortSignal.abort())).toBe(true);
    expect(await bell.wait(A, bell.now(), AbortSignal.abort())).toBe(false);
  });

  test('wakes everyone who waits for the agent, and nobody else', async () => {
    const bell = new AgentBell();
    const over = new AbortController();
    const [first, second] = [bell.wait(A, bell.now(), over.signal), bell.wait(A, bell.now(), over.signal)];
    const other = bell.wait(B, bell.now(), over.signal);

    bell.ring([A]);

    expect(await Promise.all([first, second])).toEqual([true, true]);
    over.abort();
    expect(await other).toBe(false);
  });

  test('lets go when the wait is aborted, and hears the next ring all the same', async () => {
    const bell = new AgentBell();
    const over = new AbortController();
    const mark = bell.now();
    const waiting = bell.wait(A, mark, over.signal);
    over.abort();
    bell.ring([A]);

    expect(await waiting).toBe(false);
    expect(await bell.wait(A, mark, new AbortController().signal)).toBe(true);
  });

  test('remembers a bounded number of agents, and one too many rings rather than one too few', async () => {
    const bell = new AgentBell();
    bell.ring([A]);
    for (let number = 0; number < 20_000; number += 1) bell.ring([`ag-${String(number).padStart(12, 'x')}`]);

    expect(await bell.wait(A, 0, AbortSignal.abort())).toBe(true);
    expect(await bell.wait(A, 1, AbortSignal.abort())).toBe(false);
    expect(await bell.wait(B, 0, AbortSignal.abort())).toBe(true);
  });

  test('never misses a ring between two waits, in whatever order things happen', async () => {
    const step = fc.constantFrom('ring', 'ring-other', 'wait', 'abort', 'turn');
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const bell = new AgentBell();
        let rings = 0;
        let heard = 0;
        let mark = bell.now();
        let over = new AbortController();
        let waiting: Promise<void> | null = null;
        const listen = async (signal: AbortSignal): Promise<void> => {
          // As the long poll does: the mark of the moment is taken before the rows are read.
          if (!(await bell.wait(A, mark, signal))) return;
          mark = bell.now();
          heard = rings;
        };
        for (const what of steps) {
          if (what === 'ring') {
            rings += 1;
            bell.ring([A]);
          } else if (what === 'ring-other') bell.ring([B]);
          else if (what === 'abort') over.abort();
          else if (what === 'turn') await Promise.resolve();
          else {
            over.abort();
            await waiting;
            over = new AbortController();
            waiting = listen(over.signal);
          }
        }
        over.abort();
        await waiting;
        await listen(AbortSignal.abort());

        expect(heard).toBe(rings);
      }),
    );
  });
});
