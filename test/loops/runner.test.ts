import { describe, expect, test } from 'vitest';
import { type LoopSpec, type RunningLoop, startLoop } from '../../src/loops/runner.ts';
import { AppError } from '../../src/model/errors.ts';
import { recordingLog } from '../support/log.ts';
import { WorldTime } from '../support/world-time.ts';

const SPEC = { name: 'look', intervalMs: 10_000, gatherMs: 200 } as const;

interface Started {
  readonly time: WorldTime;
  readonly loop: RunningLoop;
  readonly turns: number[];
  readonly log: ReturnType<typeof recordingLog>;
}

/** A loop on a virtual clock that notes the moment of each turn. */
async function start(
  turn: () => Promise<unknown> = async () => undefined,
  spec: Partial<LoopSpec> = {},
): Promise<Started> {
  const time = WorldTime.alone(0);
  const log = recordingLog();
  const turns: number[] = [];
  const noted = async (): Promise<unknown> => {
    turns.push(time.nowMs());
    return await turn();
  };
  const loop = startLoop({ ...SPEC, turn: noted, ...spec }, { clock: time, log: { ...log, debug: () => undefined } });
  await time.run(0);
  return { time, loop, turns, log };
}

function away(): AppError {
  return new AppError('DATABASE_UNREACHABLE', 'Postgres does not answer', { remedy: 'start it' });
}

describe('a loop', () => {
  test('takes its first turn at once and the next ones after its interval', async () => {
    const { time, turns } = await start();
    await time.run(25_000);
    expect(turns).toEqual([0, 10_200, 20_400]);
  });

  test('shares one turn among the wake-ups of a moment, and does not wait for the interval then', async () => {
    const { time, loop, turns } = await start();
    await time.run(5000);
    loop.wake();
    loop.wake();
    await time.run(1000);
    expect(turns).toEqual([0, 5000]);
  });

  test('keeps turns apart by the gathering time when it is woken without end', async () => {
    const { time, loop, turns } = await start();
    for (let ms = 0; ms < 1000; ms += 50) {
      loop.wake();
      await time.run(50);
    }
    expect(turns.length).toBeLessThanOrEqual(6);
    expect(turns.slice(1).every((at, index) => at - (turns[index] ?? 0) >= 200)).toBe(true);
  });

  test('remembers a wake-up during a turn', async () => {
    const world: { started: Started | null; finish: () => void } = { started: null, finish: () => undefined };
    let first = true;
    world.started = await start(async () => {
      if (!first) return;
      first = false;
      await new Promise<void>((resolve) => (world.finish = resolve));
    });
    world.started.loop.wake();
    world.finish();
    await world.started.time.run(500);
    expect(world.started.turns).toHaveLength(2);
  });

  test('outlives failures, tells each outage once, and tells its end', async () => {
    let failing = true;
    const { time, loop, turns, log } = await start(async () => {
      if (failing) throw away();
    });
    await time.run(35_000);
    expect(turns.length).toBe(4);
    expect(log.lines.map(({ level, message }) => [level, message])).toEqual([
      ['warn', 'loop turn failed; it is tried again'],
    ]);
    expect(log.lines[0]?.details).toMatchObject({ loop: 'look', code: 'DATABASE_UNREACHABLE', remedy: 'start it' });
    expect(loop.health()).toEqual({ ok: false, detail: 'Postgres does not answer', sinceMs: 0 });
    failing = false;
    await time.run(10_200);
    expect(log.lines.at(-1)).toMatchObject({ level: 'info', message: 'loop works again' });
    expect(loop.health()).toMatchObject({ ok: true, detail: '' });
  });

  test('tells a bug as an error, with its stack, and goes on', async () => {
    const { time, turns, log } = await start(async () => {
      throw new TypeError('undefined is not a plan');
    });
    await time.run(10_200);
    expect(turns).toHaveLength(2);
    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).toMatchObject({ level: 'error', message: 'loop turn met a bug' });
    expect(String(log.lines[0]?.details['stack'])).toContain('runner.test.ts');
  });

  test('stops while it waits, at once and for good', async () => {
    const { time, loop, turns } = await start();
    await time.run(1000);
    await loop.stop();
    loop.wake();
    await time.run(60_000);
    expect(turns).toEqual([0]);
  });

  test('lets the turn under way end before it is stopped', async () => {
    let finish = (): void => undefined;
    const { loop } = await start(async () => await new Promise<void>((resolve) => (finish = resolve)));
    let stopped = false;
    const stopping = loop.stop().then(() => (stopped = true));
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    expect(stopped).toBe(false);
    finish();
    await stopping;
    expect(stopped).toBe(true);
  });

  test('knows nothing of its health before the first turn has ended', async () => {
    const { loop } = await start(async () => await new Promise(() => undefined));
    expect(loop.health()).toBeNull();
  });
});
