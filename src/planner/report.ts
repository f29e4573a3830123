import { offeringKey, type Offering } from '../model/offering.ts';
import type { Resources } from '../model/resources.ts';
import type { AfterLocal } from './coverage.ts';
import type { Demand } from './demand.ts';
import { missingForTarget, utilizationDetail } from './demand.ts';
import type { NewMachines, Planning } from './draft.ts';
import { EMPTY_DRAFT, countBegun, nanoPerHour } from './draft.ts';
import { writeDemand, writeGap, writeLimits } from './figures.ts';
import type { Fleet, Host } from './fleet.ts';
import { localCapacity, sumCapacity, sumFree } from './fleet.ts';
import { wideProbes } from './holds.ts';
import { ladderBuilder } from './ladder.ts';
import { reportKept } from './keep-local.ts';
import type { LocalShare } from './local-room.ts';
import type { Catalogue } from './offerings.ts';
import { copyOffering, mergeNeeds } from './offerings.ts';
import { nanoOf, usdOf } from './order.ts';
import { placePending } from './placement.ts';
import { listReasons } from './reasons.ts';
import type { ScaleDown } from './scale-down.ts';
import type { ScaleUp } from './scale-up.ts';
import { readyCapacity } from './scale-up.ts';
import { sumTasks } from './slots.ts';
import { reportWait } from './wait.ts';
import type { Retired } from './warm-pool.ts';
import type {
  ActionMachine,
  CapacityReport,
  LaunchChoice,
  PlanAction,
  RankedKind,
  SignalReport,
  WorkloadInput,
  WorkloadPlan,
  WorkloadReport,
} from './types.ts';
import { countOf } from './text.ts';

/** Machines in one launch at most: one RunInstances call, one token, and a blast radius that can be named. */
const LAUNCH_COUNT_MAX = 100;

export interface Findings {
  readonly planning: Planning;
  readonly demand: Demand;
  readonly after: AfterLocal;
  readonly localFree: Resources;
  readonly share: LocalShare | null;
  readonly catalogue: Catalogue;
  readonly kinds: readonly RankedKind[];
  readonly up: ScaleUp;
  readonly down: ScaleDown;
  /** Stopped machines that are kept no longer. */
  readonly retired: readonly Retired[];
}

/** Turns what was found into actions and the account of why. Keys are always written in the same order. */
export function writePlan(findings: Findings): WorkloadPlan {
  const { planning, up, down, retired } = findings;
  const actions: PlanAction[] = [
    ...up.draft.undrained.map((host) => ({ kind: 'undrain' as const, ...machineOf(planning, host) })),
    ...up.draft.started.map((host) => ({ kind: 'start' as const, ...machineOf(planning, host) })),
    ...launchActions(findings),
    ...down.drained.map((host) => {
      const { machineId, revision, machine } = machineOf(planning, host);
      return { kind: 'drain' as const, machineId, revision, why: down.why, machine };
    }),
    ...retired.map(({ host, why }) => {
      const { machineId, revision, machine } = machineOf(planning, host);
      return { kind: 'retire' as const, machineId, revision, why, machine };
    }),
  ];
  return { workload: planning.workload.policy.name, actions, report: writeReport(findings) };
}

function machineOf({ world }: Planning, { machine }: Host): HostReference {
  return {
    machineId: machine.id,
    revision: machine.revision,
    machine: {
      instanceType: machine.instanceType,
      market: machine.market,
      zone: machine.zone,
      resources: copyResources(machine.resources),
      priceUsdPerHour: machine.priceUsdPerHour,
      idleMs: machine.idleSinceMs === null ? null : world.nowMs - machine.idleSinceMs,
    },
  };
}

interface HostReference {
  readonly machineId: Host['machine']['id'];
  readonly revision: number;
  readonly machine: ActionMachine;
}

function launchActions({ planning: { workload }, up, catalogue }: Findings): PlanAction[] {
  const groups = new Map<string, NewMachines>();
  for (const machines of up.draft.launched) {
    const key = `${offeringKey(machines.offering)}/${machines.offering.subnetId}`;
    const group = groups.get(key) ?? { ...machines, count: 0 };
    const tasks = { used: largerOf(group.used, machines.used), needs: mergeNeeds(group.needs, machines.needs) };
    groups.set(key, { ...machines, ...tasks, count: group.count + machines.count });
  }
  const wide = wideProbes(workload);
  const ladderOf = ladderBuilder(catalogue);
  const actions: PlanAction[] = [];
  for (const { offering, used, needs, count } of groups.values()) {
    const [choice] = choicesOf(workload, [offering]);
    if (choice === undefined) continue;
    const ladder = choicesOf(workload, ladderOf(offering, { used, needs }));
    const probes = [...wide, ...(offering.probes ?? [])];
    for (let left = count; left > 0; left -= LAUNCH_COUNT_MAX) {
      actions.push({ kind: 'launch', ...choice, count: Math.min(left, LAUNCH_COUNT_MAX), ladder, probes });
    }
  }
  return actions;
}

/** Offerings with their images; those without one were rejected when the catalogue was read. */
function choicesOf({ policy }: WorkloadInput, offerings: readonly Offering[]): LaunchChoice[] {
  return offerings.flatMap((offering) => {
    const imageId = policy.burst.image[offering.instanceType.architecture];
    return imageId === undefined ? [] : [{ offering: copyOffering(offering), imageId }];
  });
}

function largerOf(a: Resources, b: Resources): Resources {
  return {
    cpuMilli: Math.max(a.cpuMilli, b.cpuMilli),
    memoryMib: Math.max(a.memoryMib, b.memoryMib),
    gpus: Math.max(a.gpus, b.gpus),
  };
}

function writeReport(findings: Findings): WorkloadReport {
  const { planning, demand, after, localFree, share, catalogue, kinds, up, down, retired } = findings;
  const { fleet, workload } = planning;
  const placement = placePending(findings);
  const before = nanoPerHour(fleet, EMPTY_DRAFT);
  const gone = down.drained.reduce((sum, { machine }) => sum + nanoOf(machine.priceUsdPerHour), 0);
  const wait = after.wait === null ? null : reportWait(after.wait, catalogue, workload.times?.runP50S ?? null);
  const kept = reportKept(kinds, demand, after);
  const reasons = listReasons({ planning, demand, wait, kept, placement, share, up, down, retired });
  return {
    verdict: verdictOf(findings),
    reasons,
    signals: writeSignals(planning, demand, up),
    demand: writeDemand(demand),
    gap: writeGap(planning, demand, up.before),
    limits: writeLimits({ planning, launched: up.draft, drained: down.drained.length, reasons }),
    placement,
    local: {
      agents: fleet.localAgents.length,
      staleAgents: fleet.staleLocal,
      capacity: localCapacity(fleet),
      free: localFree,
    },
    cloud: hostReport(fleet.cloud, fleet.machines.filter(({ state }) => state === 'ready').length, fleet.staleCloud),
    inFlight: hostReport(fleet.inFlight, fleet.inFlight.length, 0),
    candidates: { considered: catalogue.considered, rejected: catalogue.rejected },
    wait,
    kept,
    money: { usdPerHourBefore: usdOf(before), usdPerHourAfter: usdOf(nanoPerHour(fleet, up.draft) - gone) },
  };
}

function verdictOf({ up, down, retired }: Findings): WorkloadReport['verdict'] {
  if (up.draft.undrained.length > 0 || countBegun(up.draft) > 0) return 'scale-up';
  return down.drained.length + retired.length > 0 ? 'scale-down' : 'hold';
}

function hostReport(hosts: readonly Host[], agents: number, staleAgents: number): CapacityReport {
  return { agents, staleAgents, capacity: sumCapacity(hosts), free: sumFree(hosts) };
}

function writeSignals({ workload, fleet }: Planning, demand: Demand, { coverage }: ScaleUp): WorkloadReport['signals'] {
  const { queue, headroom, utilization } = workload.policy.demand;
  return {
    queue:
      queue === null
        ? null
        : {
            wanted: sumTasks([...coverage.beyondReady.urgent, ...coverage.beyondReady.patient]),
            detail: `tasks may wait ${queue.maxWaitMs / 1000} s for a local place`,
          },
    utilization: utilization === null ? null : utilizationSignal(demand, fleet),
    headroom:
      headroom === null
        ? null
        : {
            wanted: sumTasks(coverage.beyondReady.headroom),
            detail: `room for ${countOf(headroom.tasks, 'more task')}`,
          },
  };
}

function utilizationSignal({ utilization }: Demand, fleet: Fleet): SignalReport {
  return { wanted: missingForTarget(utilization, readyCapacity(fleet)), detail: utilizationDetail(utilization) };
}

function copyResources({ cpuMilli, memoryMib, gpus }: Resources): Resources {
  return { cpuMilli, memoryMib, gpus };
}
