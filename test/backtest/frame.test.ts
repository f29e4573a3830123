import { describe, expect, test } from 'vitest';
import { Replay, replay } from '../../src/backtest/frame.ts';
import type { ReplayInput } from '../../src/backtest/replay-types.ts';
import type { NodeView } from '../../src/backtest/scaler.ts';
import { SIZES, amount, nodeType, randomTasks, scaler, task } from './fixtures.ts';

const NODE = nodeType('c6a.4', amount(4));
const never = scaler(() => ({ quietUntilS: Infinity }));

function waits(input: Omit<ReplayInput, 'types'>): number[] {
  return [...replay({ types: [NODE], ...input }).waitsS];
}

describe('placement', () => {
  test('is first come first served, and a later task goes ahead when the earlier one does not fit', () => {
    const tasks = [task(0, 100, amount(3)), task(1, 100, amount(2)), task(2, 10, amount(1)), task(3, 10, amount(1))];
    // The second waits for the first to end; the third goes ahead of it, the fourth follows when the third has ended.
    expect(waits({ tasks, locals: [amount(4)], scaler: never })).toEqual([0, 99, 0, 9]);
  });

  test('takes the agent with the fewest free cores that holds the task', () => {
    const tasks = [task(0, 100, amount(2)), task(1, 100, amount(8))];
    expect(waits({ tasks, locals: [amount(8), amount(2)], scaler: never })).toEqual([0, 0]);
  });

  test('counts memory and GPUs as it counts cores', () => {
    const tasks = [task(0, 100, amount(1, 30)), task(1, 50, amount(1, 4)), task(2, 50, amount(1, 1, 1))];
    const locals = [amount(16, 32), amount(16, 32, 1)];
    expect(waits({ tasks, locals, scaler: never })).toEqual([0, 0, 0]);
    expect(waits({ tasks, locals: [amount(16, 32, 1)], scaler: never })).toEqual([0, 99, 0]);
  });

  test('fills local agents before cloud nodes, although a node would be tighter', () => {
    const once = scaler(({ nodeCount }) => ({ launch: nodeCount === 0 ? [{ type: NODE, count: 1 }] : [] }));
    const tasks = [task(0, 10, amount(1)), task(200, 10, amount(4))];
    const outcome = replay({ tasks, locals: [amount(8)], types: [NODE], scaler: once });
    expect([...outcome.ranInCloud]).toEqual([0, 0]);
  });

  test('leaves out tasks that fit nowhere, and keeps tasks that stay local out of the cloud', () => {
    const buys = scaler(({ nowS }) => ({ launch: nowS === 0 ? [{ type: NODE, count: 1 }] : [] }));
    const tasks = [task(0, 10, amount(5)), { ...task(0, 10, amount(4)), staysLocal: true }, task(0, 10, amount(4))];
    const outcome = replay({ tasks, locals: [], types: [NODE], scaler: buys });
    expect([outcome.tasksImpossible, outcome.tasksDone, [...outcome.ranInCloud]]).toEqual([2, 1, [0, 0, 1]]);
  });
});

describe('time and money', () => {
  function end(view: { idleNodes(): readonly NodeView[] }): number[] {
    return view.idleNodes().map(({ id }) => id);
  }

  const buyOnce = scaler((view) => ({
    launch: view.nowS === 0 ? [{ type: NODE, count: 1 }] : [],
    terminate: end(view),
  }));

  test('a node takes tasks after the boot time and is billed from its launch to its end', () => {
    const outcome = replay({ tasks: [task(0, 25)], locals: [], types: [NODE], scaler: buyOnce, bootS: 40 });
    // Ready at 40, done at 65, ended by the next tick at 70.
    expect([...outcome.waitsS]).toEqual([40]);
    expect([outcome.costUsd, outcome.machineHours * 3600]).toEqual([0.7, 70]);
  });

  test('a node is billed for a minute at least', () => {
    const regrets = scaler(({ nowS, nodes }) => ({
      launch: nowS === 0 ? [{ type: NODE, count: 2 }] : [],
      terminate: nowS === 10 ? [...nodes].map(({ id }) => id) : [],
    }));
    const outcome = replay({ tasks: [task(0, 100)], locals: [amount(1)], types: [NODE], scaler: regrets });
    expect([outcome.launches, outcome.terminations, outcome.costUsd]).toEqual([2, 2, 1.2]);
  });

  test('the end of the replayed time ends the bill, and who still waits has waited until then', () => {
    const outcome = replay({
      tasks: [task(0, 1000), task(5, 1000), task(400, 1)],
      locals: [amount(1)],
      types: [NODE],
      scaler: scaler(({ nowS }) => ({ launch: nowS === 0 ? [{ type: NODE, count: 1 }] : [] })),
      bootS: 200,
      untilS: 150,
    });
    expect(outcome).toMatchObject({ tasks: 2, tasksDone: 0, costUsd: 1.5, endedAtS: 150 });
    expect([...outcome.waitsS]).toEqual([0, 145]);
  });

  test('a scaler that keeps a node for ever pays for it an hour after the last task', () => {
    const keeps = scaler(({ nowS }) => ({ launch: nowS === 0 ? [{ type: NODE, count: 1 }] : [] }));
    const outcome = replay({ tasks: [task(0, 100)], locals: [amount(1)], types: [NODE], scaler: keeps });
    expect(outcome.endedAtS).toBe(3700);
  });

  test('a replay ends although tasks wait for ever', () => {
    const outcome = replay({ tasks: [task(0, 10, amount(4))], locals: [], types: [NODE], scaler: scaler(() => ({})) });
    expect([outcome.tasksDone, outcome.endedAtS]).toEqual([0, 7 * 86_400]);
  });

  test('the timeline ends with the money that was paid', () => {
    const outcome = replay({ tasks: [task(0, 500)], locals: [], types: [NODE], scaler: buyOnce, samples: 10 });
    const { samples } = outcome.timeline;
    expect(samples.map(({ atS }) => atS)).toEqual([0, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500]);
    expect(samples.at(-1)).toMatchObject({ spentUsd: 5, cloudUsedMilli: 1000, cloudCpuMilli: 4000, pendingMilli: 0 });
  });
});

describe('a scaler', () => {
  test('is asked at its ticks, and not at all between events when it asks for quiet', () => {
    const moments: number[] = [];
    const quiet = scaler(({ nowS }) => {
      moments.push(nowS);
      return { quietUntilS: nowS < 50 ? 300 : Infinity };
    });
    replay({ tasks: [task(3, 100), task(117, 900)], locals: [amount(1)], types: [NODE], scaler: quiet });
    // After the arrivals at 3 and 117 and the end at 103; the end at 1017 ends the replay.
    expect(moments).toEqual([10, 110, 120]);
    moments.length = 0;
    replay({ tasks: [task(3, 900)], locals: [amount(1)], types: [NODE], scaler: quiet });
    expect(moments).toEqual([10, 300]);
  });

  test('that ends a node at work is a bug', () => {
    const kills = scaler(({ nowS, nodes }) => ({
      launch: nowS === 0 ? [{ type: NODE, count: 1 }] : [],
      terminate: nowS === 100 ? [...nodes].map(({ id }) => id) : [],
    }));
    expect(() => replay({ tasks: [task(0, 500)], locals: [], types: [NODE], scaler: kills })).toThrow('is at work');
  });

  test('keeps tasks off a node that it cordons, until it uncordons it', () => {
    const cordons = scaler(({ nowS }) => ({
      launch: nowS === 0 ? [{ type: NODE, count: 1 }] : [],
      ...(nowS === 30 ? { cordon: [0] } : {}),
      ...(nowS === 200 ? { uncordon: [0] } : {}),
    }));
    expect([...replay({ tasks: [task(0, 10)], locals: [], types: [NODE], scaler: cordons }).waitsS]).toEqual([200]);
  });

  test('sees pending tasks by shape, the oldest first', () => {
    const seen: string[] = [];
    const looks = scaler((view) => {
      if (view.nowS === 20) {
        for (const group of view.pending()) {
          seen.push(
            `${group.need.cpuMilli} x${group.count} since ${group.oldestSubmitS}, ${group.submittedBy(5)} by 5`,
          );
          seen.push(`second at ${group.submitS(1)}`);
        }
      }
      return { quietUntilS: Infinity };
    });
    const tasks = [task(0, 99, amount(4)), task(1, 9, amount(2)), task(5, 9, amount(1)), task(12, 9, amount(2))];
    replay({ tasks, locals: [amount(4)], types: [NODE], scaler: looks });
    expect(seen).toEqual(['2000 x2 since 1, 1 by 5', 'second at 12', '1000 x1 since 5, 1 by 5', 'second at Infinity']);
  });
});

describe('a random log', () => {
  const buys = () =>
    scaler((view) => {
      const [first] = view.pending();
      const type = SIZES.find(({ capacity }) => capacity.cpuMilli >= (first?.need.cpuMilli ?? 0));
      const isComing = [...view.nodes].some(({ state }) => state === 'booting');
      return {
        launch: first === undefined || isComing ? [] : [{ type: type ?? SIZES[4]!, count: 1 }],
        terminate: view.idleNodes().map(({ id }) => id),
      };
    });

  test.each([1, 2, 3])('gives the same figures each time, in one go or in steps (%i)', (seed) => {
    const input = { tasks: randomTasks(seed, 400), locals: [amount(16, 64)], types: SIZES };
    const whole = replay({ ...input, scaler: buys() });
    const stepped = new Replay({ ...input, scaler: buys() });
    while (!stepped.step(1));
    expect(stepped.outcome()).toEqual(whole);
  });

  test.each([4, 5, 6])('never puts more on a place than it has, and loses no task (%i)', (seed) => {
    const tasks = randomTasks(seed, 400);
    const inner = buys();
    const watches = scaler((view) => {
      for (const { free } of [...view.locals, ...view.nodes]) {
        expect(Math.min(free.cpuMilli, free.memoryMib, free.gpuMilli)).toBeGreaterThanOrEqual(0);
      }
      return inner.decide(view);
    });
    const outcome = replay({ tasks, locals: [amount(16, 64)], types: SIZES, scaler: watches });
    expect([outcome.tasksDone, outcome.tasksImpossible]).toEqual([tasks.length - outcome.tasksImpossible, 0]);
  });
});
