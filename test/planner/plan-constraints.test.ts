/** GPUs, architectures and where work may run: what is bought, kept and waited for because of them. */
import { describe, expect, it } from 'vitest';
import type { Constraints } from '../../src/model/constraints.ts';
import type { Resources } from '../../src/model/resources.ts';
import type { PendingShape } from '../../src/planner/types.ts';
import {
  GIB,
  agent,
  allOfferings,
  codes,
  cores,
  drainingMachine,
  gpuOfferings,
  machine,
  pending,
  plan,
  policy,
  readyMachine,
  requested,
  short,
} from './fixtures.ts';

const EVERYTHING = [...allOfferings(), ...gpuOfferings()];
const ONE_GPU: Resources = { ...cores(4, 16), gpus: 1 };
const BOTH_IMAGES = { x86_64: 'ami-x86', arm64: 'ami-arm' };

const launched = (...work: PendingShape[]) =>
  short(plan({ workload: { offerings: EVERYTHING, pending: work } }).actions);
const tasks = (count: number, constraints: Partial<Constraints>, shape = cores(2)) =>
  pending(shape, count, count, constraints);

describe('work that asks for GPUs', () => {
  it.each<[string, Resources, number, string[]]>([
    ['launches the cheapest type that has one', ONE_GPU, 1, ['launch 1 g5.1 on-demand']],
    [
      'launches a machine for each when that is no dearer than a large one, in all zones',
      ONE_GPU,
      4,
      ['launch 2 g5.1 on-demand', 'launch 2 g5.1 on-demand'],
    ],
    ['launches a large type for many GPUs in one task', { ...cores(8, 16), gpus: 3 }, 1, ['launch 1 g5.4 on-demand']],
    ['is not served by many small machines', { ...cores(8, 16), gpus: 5 }, 1, ['launch 1 g5.8 on-demand']],
  ])('%s', (_, shape, count, actions) => {
    expect(launched(pending(shape, count))).toEqual(actions);
  });

  it('is impossible where no type has as many', () => {
    const result = plan({ workload: { offerings: EVERYTHING, pending: [pending({ ...ONE_GPU, gpus: 9 }, 1)] } });

    expect(result.report.placement.impossible).toBe(1);
    expect(result.report.reasons.map(({ detail }) => detail)).toContain(
      'no offering holds 4 vCPU with 16384 MiB and 9 GPUs',
    );
  });

  it('takes free GPUs of local agents first, and no agent whose GPUs are all taken', () => {
    const local = agent(1, { capacity: { ...cores(32, 128), gpus: 2 }, allocated: { ...cores(4, 16), gpus: 1 } });
    const result = plan({ workload: { offerings: EVERYTHING, pending: [pending(ONE_GPU, 2)] }, agents: [local] });

    expect(result.report.placement).toMatchObject({ onLocal: 1, planned: 1 });
    expect(short(result.actions)).toEqual(['launch 1 g5.1 on-demand']);
  });

  it('counts on GPUs that are on their way', () => {
    const coming = requested(1, { instanceType: 'g5.1', resources: { ...cores(8, 32), gpus: 1 } });
    const result = plan({ workload: { offerings: EVERYTHING, pending: [pending(ONE_GPU, 1)] }, machines: [coming] });

    expect(result.actions).toEqual([]);
    expect(result.report.placement.inFlight).toBe(1);
  });

  it('goes before work without GPU need where only machines with GPUs have room', () => {
    const local = agent(1, { capacity: { ...cores(16, 32), gpus: 1 } });
    // Larger in all else, and first by any other measure.
    const work = [pending(cores(16, 16), 1), pending(ONE_GPU, 1)];
    const result = plan({ workload: { offerings: EVERYTHING, pending: work }, agents: [local] });

    expect(short(result.actions)).toEqual(['launch 1 c6a.4xlarge on-demand']);
  });
});

describe('a machine with GPUs', () => {
  const gpuPair = readyMachine(1, {
    machine: { instanceType: 'g5.1', resources: { ...cores(8, 32), gpus: 1 }, priceUsdPerHour: 1 },
    agent: { capacity: { ...cores(8, 30), gpus: 1 } },
  });

  it('is not bought for other work, be it the only type or the cheapest', () => {
    const cheap = gpuOfferings().map((offering) => ({ ...offering, priceUsdPerHour: 0.0001 }));
    const both = [...allOfferings(), ...cheap];
    expect(short(plan({ workload: { offerings: both, pending: [pending(cores(2), 1)] } }).actions)).toEqual([
      'launch 1 c6a.large on-demand',
    ]);

    const none = plan({ workload: { offerings: cheap, pending: [pending(cores(2), 1)] } });
    expect(none.actions).toEqual([]);
    expect(none.report.reasons).toContainEqual({
      code: 'no-offering-fits',
      detail: 'only types with GPUs, for work that needs none, hold 2 vCPU with 2048 MiB',
    });
  });

  it('is not bought for other work when its agents report no GPUs', () => {
    const blind = readyMachine(1, {
      machine: { instanceType: 'g5.1', resources: { ...cores(8, 32), gpus: 1 } },
      agent: { capacity: cores(8, 30), allocated: cores(8, 30), runningTasks: 1 },
    });
    const cheap = gpuOfferings().map((offering) => ({ ...offering, priceUsdPerHour: 0.0001 }));
    expect(plan({ workload: { offerings: cheap, pending: [pending(cores(2), 1)] }, pairs: [blind] }).actions).toEqual(
      [],
    );
  });

  it('stays without other work while another has room', () => {
    // At work it would come before an idle machine, did it not have GPUs.
    const atWork = readyMachine(1, {
      machine: { instanceType: 'g5.1', resources: { ...cores(8, 32), gpus: 1 }, idleSinceMs: null },
      agent: { capacity: { ...cores(8, 30), gpus: 1 }, allocated: { ...cores(4, 16), gpus: 1 }, runningTasks: 1 },
    });
    const work = [pending(cores(2), 1)];

    expect(plan({ workload: { pending: work }, pairs: [atWork, readyMachine(2)] }).actions).toEqual([]);
    expect(short(plan({ workload: {}, pairs: [atWork, readyMachine(2)] }).actions)).toEqual(['drain 2']);
  });

  it('takes other work when no other has room', () => {
    const result = plan({ workload: { offerings: EVERYTHING, pending: [pending(cores(2), 1)] }, pairs: [gpuPair] });

    expect(result.actions).toEqual([]);
    expect(result.report.placement.onCloud).toBe(1);
  });

  it('is taken back from its drain for GPU work only', () => {
    const draining = drainingMachine(1, {
      machine: { instanceType: 'g5.1', resources: { ...cores(8, 32), gpus: 1 }, priceUsdPerHour: 1 },
      agent: { capacity: { ...cores(8, 30), gpus: 1 } },
    });
    const withWork = (shape: Resources) =>
      short(plan({ workload: { offerings: EVERYTHING, pending: [pending(shape, 1)] }, pairs: [draining] }).actions);

    expect(withWork(ONE_GPU)).toEqual(['undrain 1']);
    expect(withWork(cores(2)).join()).not.toContain('undrain');
  });
});

describe('work that stays local', () => {
  it('never asks for a machine, and says what it waits for', () => {
    const result = plan({
      workload: { pending: [tasks(3, { localOnly: true })] },
      agents: [agent(1, { capacity: cores(2) })],
    });

    expect(result.actions).toEqual([]);
    expect(result.report.placement).toMatchObject({ onLocal: 1, unserved: 2 });
    expect(codes(result)).toContain('local-only');
    expect(codes(result)).not.toContain('unserved-work');
  });

  it('does not count on room in the cloud, and does not keep it', () => {
    const result = plan({
      workload: { pending: [tasks(1, { localOnly: true })] },
      agents: [agent(1, { capacity: cores(2), allocated: cores(2) })],
      pairs: [readyMachine(2)],
    });

    expect(short(result.actions)).toEqual(['drain 2']);
    expect(result.report.placement).toMatchObject({ onCloud: 0, unserved: 1 });
  });

  it('is impossible when no local agent is as large', () => {
    const result = plan({
      workload: { pending: [tasks(1, { localOnly: true })] },
      agents: [agent(1, { capacity: cores(1) })],
    });

    expect(result.report.placement.impossible).toBe(1);
  });
});

describe('work that must not be interrupted', () => {
  const onSpot = policy({ market: { spot: 1 } });

  it('launches on-demand although the policy asks for spot, with no spot offering on the ladder', () => {
    const result = plan({
      workload: { policy: onSpot, pending: [tasks(1, { spotOk: false }), tasks(1, {}, cores(4))] },
    });

    expect(short(result.actions).toSorted()).toEqual([
      expect.stringMatching(/^launch 1 .* on-demand$/),
      expect.stringMatching(/^launch 1 .* spot$/),
    ]);
    for (const action of result.actions) {
      if (action.kind !== 'launch' || action.offering.market === 'spot') continue;
      expect(action.ladder.length).toBeGreaterThan(0);
      expect(action.ladder.filter(({ offering }) => offering.market === 'spot')).toEqual([]);
    }
  });

  it('does not count on room of spot machines', () => {
    const spot = readyMachine(1, { machine: { market: 'spot' } });
    const coming = requested(2, { market: 'spot' });
    const result = plan({ workload: { pending: [tasks(1, { spotOk: false })] }, pairs: [spot], machines: [coming] });

    expect(short(result.actions)).toEqual([expect.stringMatching(/^launch 1 .* on-demand$/)]);
  });

  it('gets the on-demand room that equal work without the constraint could do without', () => {
    const both = [
      readyMachine(1, { agent: { capacity: cores(2) } }),
      readyMachine(2, { machine: { market: 'spot' }, agent: { capacity: cores(2) } }),
    ];
    const result = plan({ workload: { pending: [tasks(1, {}), tasks(1, { spotOk: false })] }, pairs: both });

    expect(result.actions).toEqual([]);
    expect(result.report.placement.onCloud).toBe(2);
  });
});

describe('work for one architecture', () => {
  it.each([
    ['arm64', 'launch 1 c6g.large on-demand'],
    ['x86_64', 'launch 1 c6a.large on-demand'],
    [null, 'launch 1 c6g.large on-demand'],
  ] as const)('%s: %s', (arch, action) => {
    const result = plan({ workload: { policy: policy({ image: BOTH_IMAGES }), pending: [tasks(1, { arch })] } });
    const [launch] = result.actions;

    expect(short(result.actions)).toEqual([action]);
    const others =
      launch?.kind === 'launch' ? launch.ladder.map(({ offering }) => offering.instanceType.architecture) : [];
    expect(new Set(others)).toEqual(new Set(arch === null ? ['arm64', 'x86_64'] : [arch]));
  });

  it('is impossible without an image for it', () => {
    const result = plan({ workload: { pending: [tasks(1, { arch: 'arm64' })] } });

    expect(result.report.placement.impossible).toBe(1);
    expect(result.report.reasons.map(({ detail }) => detail)).toContain(
      'no offering holds 2 vCPU with 2048 MiB on arm64',
    );
  });

  it('runs where an agent says it has it, else where its machine was launched as such', () => {
    const local = agent(1, { arch: 'arm64', capacity: cores(2) });
    const unknown = agent(2, { capacity: cores(32, 64) });
    const coming = machine(3, { state: 'booting', arch: 'arm64', resources: cores(2, 4) });
    const result = plan({
      workload: { policy: policy({ image: BOTH_IMAGES }), pending: [tasks(2, { arch: 'arm64' })] },
      agents: [local, unknown],
      machines: [coming],
    });

    expect(result.actions).toEqual([]);
    expect(result.report.placement).toMatchObject({ onLocal: 1, inFlight: 1 });
  });
});

describe('headroom of tasks with GPUs', () => {
  it('is machines with GPUs', () => {
    const task = { ...cores(4, 8), gpus: 1 };
    const demand = { queue: { source: 'bullmq', task, maxWaitMs: 0 }, headroom: { tasks: 2 } } as const;
    const result = plan({ workload: { policy: policy({ demand }), offerings: EVERYTHING } });

    expect(short(result.actions)).toEqual(['launch 1 g5.1 on-demand', 'launch 1 g5.1 on-demand']);
    expect(result.report.signals.headroom?.wanted).toEqual({ cpuMilli: 8000, memoryMib: 16 * GIB, gpus: 2 });
  });
});
