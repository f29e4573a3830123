import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { Chance } from '../../src/chaos/chance.ts';
import { InjectedThrow, performing, Sim, type CallSpec, type Proc, type SimOptions } from '../../src/chaos/sim.ts';

const START_MS = Date.UTC(2026, 6, 20);
const NEVER = { untilMs: START_MS + 600_000 };

function newSim(options: Partial<SimOptions> = {}): Sim {
  return new Sim({
    seed: 1,
    only: null,
    startMs: START_MS,
    without: new Set(),
    quietAfterMs: Infinity,
    ...options,
  });
}

/** A process whose main is given; started at once. */
function startProc(sim: Sim, main: (proc: Proc) => Promise<void>): Proc {
  const proc = sim.createProc('P', (self) => void main(self).catch(() => undefined));
  sim.start(proc);
  return proc;
}

function spec<T>(rates: CallSpec<T>['rates'], effect: () => T): CallSpec<T> {
  return { site: 'call', rates, latencyMs: 10, perform: performing(effect), lost: () => new Error('lost') };
}

async function runOut(sim: Sim): Promise<void> {
  await sim.run(NEVER.untilMs, () => false);
}

describe('chance', () => {
  test('gives each place its own choices, whatever others ask in between', () => {
    const one = new Chance(7);
    const other = new Chance(7);
    const alone = [one.roll('a'), one.roll('a'), one.roll('a')];
    const between = [other.roll('a'), other.roll('b'), other.roll('a'), other.roll('c'), other.roll('a')];
    expect(between.filter(({ id }) => id.startsWith('a'))).toEqual(alone);
    expect(new Chance(8).roll('a').value).not.toBe(alone[0]?.value);
  });

  test('spreads its choices evenly', () => {
    const chance = new Chance(3);
    const tens = Array.from({ length: 10 }, () => 0);
    for (let roll = 0; roll < 10_000; roll += 1) {
      const ten = chance.integer('place', 0, 9);
      tens[ten] = (tens[ten] ?? 0) + 1;
    }
    for (const count of tens) expect(count).toBeGreaterThan(850);
  });
});

describe('a call out of a simulated process', () => {
  test('takes virtual time and gives what its effect gave', async () => {
    const sim = newSim();
    const answers: unknown[] = [];
    startProc(sim, async (proc) => {
      answers.push(
        await sim.call(
          proc,
          spec({}, () => 42),
        ),
      );
      await sim.sleep(proc, 5_000);
      answers.push(sim.nowMs - START_MS);
    });
    await runOut(sim);
    expect(answers[0]).toBe(42);
    expect(answers[1]).toBeGreaterThanOrEqual(5_000);
  });

  test.each(['crash-before', 'crash-after'])('that ends in a %s never goes on, not even in `finally`', async (kind) => {
    const sim = newSim();
    const told: string[] = [];
    let asked = 0;
    let effects = 0;
    startProc(sim, async (proc) => {
      told.push('start');
      try {
        // Until it strikes: no place fails more than every thirtieth time.
        while (told.length === 1) {
          asked += 1;
          await sim.call(
            proc,
            spec({ [kind]: 1 }, () => (effects += 1)),
          );
        }
      } finally {
        if (told.length === 1) told.push('finally');
      }
    });
    await runOut(sim);
    expect(told).toEqual(['start', 'start']);
    expect(sim.faultsByKind.get(kind)).toBe(1);
    expect(effects).toBe(kind === 'crash-after' ? asked : asked - 1);
  });

  test('that throws lets error paths run and then ends the process', async () => {
    const sim = newSim();
    const told: string[] = [];
    startProc(sim, async (proc) => {
      told.push('start');
      while (told.length === 1) {
        await sim
          .call(
            proc,
            spec({ throw: 1 }, () => 0),
          )
          .catch((error: unknown) => told.push(error instanceof InjectedThrow ? 'thrown' : 'other'));
      }
    });
    await runOut(sim);
    expect(told).toEqual(['start', 'thrown', 'start']);
    expect(sim.faultsByKind.get('throw')).toBe(1);
  });

  test('of a stopped process is answered when it goes on', async () => {
    const sim = newSim();
    let answeredAtMs = 0;
    const proc = startProc(sim, async (self) => {
      await sim.call(
        self,
        spec({}, () => 0),
      );
      answeredAtMs = sim.nowMs;
    });
    sim.stop(proc);
    await runOut(sim);
    expect(answeredAtMs).toBeGreaterThanOrEqual(proc.stoppedUntilMs);
    expect(proc.stoppedUntilMs).toBeGreaterThan(START_MS);
  });
});

describe('two runs of one seed', () => {
  async function play(options: Partial<SimOptions>): Promise<{ digest: string; faults: readonly string[] }> {
    const sim = newSim(options);
    const rates = { drop: 0.01, lose: 0.01, 'crash-after': 0.005 };
    startProc(sim, async (proc) => {
      for (let turn = 0; turn < 200; turn += 1) {
        await sim
          .call(
            proc,
            spec(rates, () => turn),
          )
          .catch(() => undefined);
        await sim.sleep(proc, 1_000);
      }
    });
    await runOut(sim);
    return { digest: sim.digest(), faults: sim.faults };
  }

  test('have one digest, and two seeds have two', async () => {
    const first = await play({ seed: 5 });
    expect(await play({ seed: 5 })).toEqual(first);
    expect((await play({ seed: 6 })).digest).not.toBe(first.digest);
    expect(first.faults.length).toBeGreaterThan(3);
  });

  test('keep the faults that are left when one is taken away', async () => {
    const { faults } = await play({ seed: 5 });
    const kept = faults.filter((_fault, index) => index !== 1);
    const again = await play({ seed: 5, only: new Set(kept) });
    expect(again.faults[0]).toBe(kept[0]);
    for (const fault of again.faults) expect(kept).toContain(fault);
  });
});

describe('a sleeper', () => {
  const never = new AbortController().signal;

  test('listens for an abort no longer than it sleeps', async () => {
    const sim = newSim();
    const heard: number[] = [];
    const listeners = (): number => getEventListeners(never, 'abort').length;
    startProc(sim, async (proc) => {
      const slept = sim.sleep(proc, 1000, never);
      heard.push(listeners());
      await slept;
      heard.push(listeners());
    });
    await runOut(sim);
    expect(heard).toEqual([1, 0]);
  });

  test('of a process that was killed listens until its world ends', async () => {
    const sim = newSim();
    const proc = startProc(sim, async (self) => await sim.sleep(self, 1000, never));
    sim.at(1, () => sim.crash(proc));
    await sim.run(START_MS + 10, () => false);
    expect(getEventListeners(never, 'abort')).toHaveLength(1);
    sim.end();
    expect(getEventListeners(never, 'abort')).toEqual([]);
  });

  test('hears an abort while it sleeps', async () => {
    const sim = newSim();
    const control = new AbortController();
    let said: unknown;
    startProc(sim, async (proc) => {
      await sim.sleep(proc, 1000, control.signal).catch((error: unknown) => (said = error));
    });
    sim.at(10, () => control.abort(new Error('enough')));
    await runOut(sim);
    expect(said).toEqual(new Error('enough'));
  });
});
