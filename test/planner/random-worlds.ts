/** Random worlds for properties of plans. */
import * as fc from 'fast-check';
import { ANYWHERE, type Constraints } from '../../src/model/constraints.ts';
import type { Market } from '../../src/model/offering.ts';
import { planAll } from '../../src/planner/plan.ts';
import type {
  AgentView,
  MachineView,
  PlanAction,
  PlannerInput,
  WorkloadInput,
  WorkloadPlan,
} from '../../src/planner/types.ts';
import {
  GIB,
  NOW,
  ZONES,
  agent,
  agentId,
  allOfferings,
  cores,
  gpuOfferings,
  launchedMachines,
  machine,
  machineId,
  movedFromStopped,
  policy,
  workload,
} from './fixtures.ts';

export const RUNS = { numRuns: 200 };

const shape = fc.record({
  cpuMilli: fc.constantFrom(500, 1000, 2000, 3000, 8000, 16_000),
  memoryMib: fc.constantFrom(256, GIB, 2 * GIB, 6 * GIB, 20 * GIB, 97 * GIB),
  gpus: fc.constantFrom(0, 0, 0, 1, 2),
});

const constraints = fc.record<Constraints>({
  arch: fc.constantFrom(null, null, null, 'x86_64', 'arm64'),
  localOnly: fc.constantFrom(false, false, false, true),
  spotOk: fc.constantFrom(true, true, false),
});

/** Pending tasks of one kind. */
export const pendingShape = fc
  .record({
    shape,
    constraints: fc.oneof(fc.constant(ANYWHERE), constraints),
    count: fc.integer({ min: 1, max: 40 }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ shape, constraints, count, share }) => ({
    shape,
    ...constraints,
    runTimeS: null,
    count,
    overdue: Math.round(count * share),
    oldestPendingSinceMs: NOW - 1000 * count,
  }));

interface PolicyKnobs {
  readonly name?: string;
}

const policyOf = ({ name = 'ci' }: PolicyKnobs = {}) =>
  fc
    .record({
      hasArm: fc.boolean(),
      max: fc.integer({ min: 0, max: 30 }),
      min: fc.integer({ min: 0, max: 3 }),
      vcpus: fc.option(fc.integer({ min: 0, max: 200 })),
      launchesPerHour: fc.integer({ min: 0, max: 60 }),
      maxScaleUp: fc.integer({ min: 1, max: 40 }),
      hourlyUsd: fc.option(fc.double({ min: 0, max: 10, noNaN: true })),
      spot: fc.constantFrom(0, 0.5, 0.8, 1),
      onDemandBase: fc.integer({ min: 0, max: 3 }),
      headroom: fc.integer({ min: 0, max: 4 }),
      maxWaitMs: fc.constantFrom(0, 90_000),
      utilization: fc.boolean(),
      queue: fc.boolean(),
      poolMax: fc.constantFrom(null, 1, 4),
    })
    .map((knobs) =>
      policy({
        name,
        maxWaitMs: knobs.maxWaitMs,
        limits: { ...knobs, maxScaleDown: 1000, max: Math.max(knobs.max, knobs.min) },
        hourlyUsd: knobs.hourlyUsd,
        market: knobs,
        ...(knobs.poolMax === null ? {} : { warmPool: { max: knobs.poolMax, maxAgeMs: 7_200_000 } }),
        image: knobs.hasArm ? { x86_64: 'ami-x86', arm64: 'ami-arm' } : { x86_64: 'ami-x86' },
        demand: {
          ...(knobs.queue ? {} : { queue: null }),
          headroom: knobs.headroom === 0 ? null : { tasks: knobs.headroom },
          utilization: knobs.utilization ? { metric: 'max', target: 0.75, windowMs: 120_000 } : null,
        },
      }),
    );

const workloadOf = (name: string): fc.Arbitrary<WorkloadInput> =>
  fc
    .record({
      policy: policyOf({ name }),
      pending: fc.array(pendingShape, { maxLength: 6 }),
      launchedLastHour: fc.integer({ min: 0, max: 20 }),
      load: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
      offeringsKnown: fc.integer({ min: 0, max: 9 }),
      joinP50S: fc.constantFrom(null, 70),
    })
    .map(({ policy, pending, launchedLastHour, load, offeringsKnown, joinP50S }) =>
      workload({
        times: { runP50S: 300, runP95S: 900, joinP50S },
        policy,
        pending,
        launchedLastHour,
        offerings: offeringsKnown === 0 ? null : [...allOfferings(), ...gpuOfferings()],
        utilization:
          load === null
            ? null
            : { cpu: load, memory: load / 2, oldestSampleAtMs: NOW - 120_000, newestSampleAtMs: NOW - 1000 },
      }),
    );

export const localAgents = fc
  .array(
    fc.record({
      cpu: fc.constantFrom(4, 8, 16, 32),
      used: fc.constantFrom(0, 0.25, 1),
      gpus: fc.constantFrom(0, 0, 0, 2),
      arch: fc.constantFrom(null, 'x86_64' as const, 'arm64' as const),
      stale: fc.integer({ min: 0, max: 14 }),
      cordoned: fc.integer({ min: 0, max: 9 }),
      freeing: fc.array(fc.constantFrom(15, 60, 75), { maxLength: 2 }),
    }),
    { maxLength: 8 },
  )
  .map((specs) =>
    specs.map(({ cpu, used, gpus, arch, stale, cordoned, freeing }, index) =>
      agent(index, {
        freeing: used < 1 ? [] : freeing.map((inS) => ({ inS, resources: cores(cpu / 2, cpu) })),
        arch,
        capacity: { ...cores(cpu, cpu * 2), gpus },
        allocated: cores(cpu * used, cpu * used),
        runningTasks: used > 0 ? 1 : 0,
        cordoned: cordoned === 0,
        lastSeenAtMs: stale === 0 ? NOW - 600_000 : NOW - 1000,
      }),
    ),
  );

const STATES = [
  'requested',
  'launching',
  'booting',
  'joining',
  'ready',
  'ready',
  'draining',
  'leaving',
  'stopping',
  'stopped',
  'stopped',
  'terminating',
] as const;

const cloudPairs = fc
  .array(
    fc.record({
      state: fc.constantFrom(...STATES),
      workload: fc.constantFrom('ci', 'zed'),
      cpu: fc.constantFrom(2, 4, 16),
      market: fc.constantFrom<Market>('on-demand', 'spot'),
      busy: fc.boolean(),
      idleMs: fc.constantFrom(1000, 3_600_000),
      irrevocable: fc.boolean(),
      stale: fc.integer({ min: 0, max: 19 }),
    }),
    { maxLength: 8 },
  )
  .map((specs) =>
    specs.map(({ state, workload, cpu, market, busy, idleMs, irrevocable, stale }, index) => {
      const hasAgent = state === 'ready' || state === 'draining' || state === 'leaving';
      const view: MachineView = machine(index, {
        state,
        workload,
        market,
        instanceType: `m6a.${cpu}`,
        resources: cores(cpu, cpu * 4),
        arch: 'x86_64',
        zone: ZONES[index % 2]!,
        priceUsdPerHour: cpu * 0.0432,
        idleSinceMs: hasAgent && !busy ? NOW - idleMs : null,
        drainIrrevocable: irrevocable,
        agentId: hasAgent ? agentId(1000 + index) : null,
        ...(state === 'stopped'
          ? {
              market: 'on-demand',
              stoppedSinceMs: NOW - (irrevocable ? 3 : 1) * idleMs,
              imageId: stale === 1 ? 'ami-old' : 'ami-x86',
              ...(stale === 2 ? { startHeld: true } : {}),
            }
          : {}),
      });
      const worker: AgentView | null = hasAgent
        ? agent(1000 + index, {
            site: 'aws',
            capacity: cores(cpu, cpu * 4 - 1),
            allocated: busy ? cores(1) : cores(0),
            runningTasks: busy ? 1 : 0,
            cordoned: state !== 'ready',
            machineId: machineId(index),
            lastSeenAtMs: stale === 0 ? null : NOW - 2000,
          })
        : null;
      return { view, worker };
    }),
  );

/** Up to two workloads that share on-prem agents, with machines in every state. */
export const world: fc.Arbitrary<PlannerInput> = fc
  .record({ ci: workloadOf('ci'), zed: fc.option(workloadOf('zed')), localAgents, cloudPairs })
  .map(({ ci, zed, localAgents, cloudPairs }) => ({
    nowMs: NOW,
    workloads: zed === null ? [ci] : [ci, zed],
    agents: [...localAgents, ...cloudPairs.flatMap(({ worker }) => (worker === null ? [] : [worker]))],
    machines: cloudPairs.map(({ view }) => view),
  }));

/** Each workload with its plan and its machines. */
export function pairs(given: PlannerInput): { workload: WorkloadInput; plan: WorkloadPlan; machines: MachineView[] }[] {
  const plans = planAll(given).workloads;
  return given.workloads.map((workload) => ({
    workload,
    plan: plans.find((candidate) => candidate.workload === workload.policy.name)!,
    machines: given.machines.filter((view) => view.workload === workload.policy.name),
  }));
}

/** Stopped machines that a plan starts. */
export function startsOf(actions: WorkloadPlan['actions']): readonly Extract<PlanAction, { kind: 'start' }>[] {
  return actions.filter((action) => action.kind === 'start');
}

/** The world as it is right after the plan was committed. */
export function apply(given: PlannerInput): PlannerInput {
  const outcome = planAll(given);
  const machines: MachineView[] = [...given.machines];
  const agents: AgentView[] = [...given.agents];
  let number = 500;
  for (const { workload, actions } of outcome.workloads) {
    for (const action of actions) {
      if (action.kind === 'launch') {
        for (let index = 0; index < action.count; index += 1) {
          number += 1;
          machines.push(
            machine(number, {
              workload,
              state: 'requested',
              instanceType: action.offering.instanceType.name,
              resources: action.offering.instanceType.resources,
              arch: action.offering.instanceType.architecture,
              zone: action.offering.zone,
              market: action.offering.market,
              priceUsdPerHour: action.offering.priceUsdPerHour,
              createdAtMs: NOW,
            }),
          );
        }
        continue;
      }
      const at = machines.findIndex(({ id }) => id === action.machineId);
      if (action.kind === 'start' || action.kind === 'retire') {
        machines[at] = movedFromStopped(machines[at]!, action.kind);
        continue;
      }
      machines[at] = { ...machines[at]!, state: action.kind === 'drain' ? 'draining' : 'ready' };
      const agentAt = agents.findIndex(({ machineId }) => machineId === action.machineId);
      agents[agentAt] = { ...agents[agentAt]!, cordoned: action.kind === 'drain' };
    }
  }
  return {
    ...given,
    machines,
    agents,
    workloads: given.workloads.map((workload) => {
      const { actions } = outcome.workloads.find((plan) => plan.workload === workload.policy.name)!;
      return {
        ...workload,
        launchedLastHour: workload.launchedLastHour + launchedMachines(actions) + startsOf(actions).length,
      };
    }),
  };
}
