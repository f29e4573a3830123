import { selects } from '../model/agent.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { Resources } from '../model/resources.ts';
import { NO_RESOURCES, subtractResources } from '../model/resources.ts';
import type { EpochMs } from '../model/time.ts';
import { SYSTEM_RESERVE, learnCapacity } from './capacity.ts';
import type { CapacityOf } from './capacity.ts';
import { compareText } from './order.ts';
import type { SlotPlace } from './slot-place.ts';
import { slotPlace } from './slot-place.ts';
import type { Slot } from './slots.ts';
import { withOpenWindows } from './windows.ts';
import type { AgentView, Freeing, MachineView, PlannerInput, WorkloadInput } from './types.ts';

/** On their way to `ready`. */
const IN_FLIGHT_STATES: readonly MachineView['state'][] = ['requested', 'launching', 'booting', 'joining'];

/** The world of one pass, indexed and in a fixed order. */
export interface World {
  readonly nowMs: EpochMs;
  /** Not null: the database has lost commits, and nothing may be decided on it. */
  readonly amnesia: string | null;
  readonly workloads: readonly WorkloadInput[];
  readonly onPremAgents: readonly AgentView[];
  readonly machinesByWorkload: ReadonlyMap<string, readonly MachineView[]>;
  readonly agentOf: (machine: MachineView) => AgentView | null;
  readonly capacityOf: CapacityOf;
  /** What tasks on on-prem agents are expected to give back, by agent. */
  readonly freeing: ReadonlyMap<string, readonly Freeing[]>;
  /** Free room of on-prem agents, by agent; workloads that select the same agents draw on the same slots. */
  readonly localSlots: ReadonlyMap<string, Slot>;
}

/** A cloud machine as a place for tasks. */
export interface Host {
  readonly machine: MachineView;
  readonly place: SlotPlace;
  readonly capacity: Resources;
  readonly free: Resources;
  readonly runningTasks: number;
}

/** What one workload has. */
export interface Fleet {
  readonly localAgents: readonly AgentView[];
  readonly staleLocal: number;
  /** All machines of the workload but those that are stopped, by id. */
  readonly machines: readonly MachineView[];
  /** Ready, fresh and not cordoned. */
  readonly cloud: readonly Host[];
  readonly staleCloud: number;
  /** Requested, launching, booting or joining: capacity that is on its way. */
  readonly inFlight: readonly Host[];
  /** Draining, and the drain can still be called off. Cheapest first. */
  readonly returnable: readonly Host[];
  /** Stopped, and to be started before anything is launched. Cheapest first. */
  readonly stopped: readonly Host[];
  /** Capacity of every agent that reports, cordoned or not: what a utilization sample is about. */
  readonly reporting: readonly { readonly agent: AgentView; readonly machine: MachineView | null }[];
}

/** Indexes and sorts the input, so that nothing after it depends on the order of the input's lists. */
export function openWorld(input: PlannerInput): World {
  const agents = [...input.agents].sort((a, b) => compareText(a.id, b.id));
  const machines = [...input.machines].sort((a, b) => compareText(a.id, b.id));
  const onPremAgents = agents.filter(({ site }) => site === 'on-prem');
  // Only those that a machine goes with: on-prem there may be ten thousand others.
  const named = new Set(machines.map(({ agentId }) => agentId));
  const ofMachines = agents.filter(({ id, machineId }) => machineId !== null || named.has(id));
  const agentById = new Map(ofMachines.map((agent) => [agent.id, agent]));
  const agentByMachine = new Map(ofMachines.map((agent) => [agent.machineId, agent]));
  const agentOf = (machine: MachineView): AgentView | null =>
    (machine.agentId === null ? agentByMachine.get(machine.id) : agentById.get(machine.agentId)) ?? null;
  const machinesByWorkload = new Map<string, MachineView[]>();
  for (const machine of machines) {
    const list = machinesByWorkload.get(machine.workload);
    if (list === undefined) machinesByWorkload.set(machine.workload, [machine]);
    else list.push(machine);
  }
  return {
    nowMs: input.nowMs,
    amnesia: input.amnesia ?? null,
    workloads: orderWorkloads(input.workloads).map(withOpenWindows),
    onPremAgents,
    machinesByWorkload,
    agentOf,
    capacityOf: learnCapacity(machines, agentOf, input.reserve ?? SYSTEM_RESERVE),
    freeing: new Map(
      onPremAgents.flatMap(({ id, freeing }) => (freeing === undefined ? [] : [[id, freeing] as const])),
    ),
    localSlots: new Map(
      onPremAgents.map((agent) => [
        agent.id,
        {
          id: agent.id,
          count: 1,
          rank: 0,
          place: placeOfLocal(agent),
          free: subtractResources(agent.capacity, agent.allocated),
          taken: 0,
        },
      ]),
    ),
  };
}

function orderWorkloads(workloads: readonly WorkloadInput[]): WorkloadInput[] {
  return [...workloads].sort((a, b) => compareText(a.policy.name, b.policy.name));
}

/** Tells of agents whether they were heard of within the policy's `freshness`. */
export function freshnessRule(
  { demand: { freshnessMs } }: WorkloadPolicy,
  nowMs: EpochMs,
): (agent: Pick<AgentView, 'lastSeenAtMs'>) => boolean {
  return ({ lastSeenAtMs }) => lastSeenAtMs !== null && nowMs - lastSeenAtMs <= freshnessMs;
}

/** The agents and machines of one workload, by what they can be used for. An agent silent for longer than `freshness` is stale. */
export function readFleet(world: World, workload: WorkloadInput): Fleet {
  const isFresh = freshnessRule(workload.policy, world.nowMs);
  const localAgents = world.onPremAgents.filter(selects(workload.policy.agents.selector));
  const all = world.machinesByWorkload.get(workload.policy.name) ?? [];
  const [stopped, machines] = [all.filter(isStopped), all.filter((machine) => !isStopped(machine))];
  const hosts: Record<'cloud' | 'inFlight' | 'returnable', Host[]> = { cloud: [], inFlight: [], returnable: [] };
  const reporting: { agent: AgentView; machine: MachineView | null }[] = localAgents
    .filter(isFresh)
    .map((agent) => ({ agent, machine: null }));
  let staleCloud = 0;
  for (const machine of machines) {
    const agent = world.agentOf(machine);
    const fresh = agent !== null && isFresh(agent) ? agent : null;
    if (fresh !== null) reporting.push({ agent: fresh, machine });
    if (machine.state === 'ready' && fresh === null) staleCloud += 1;
    const kind = kindOfHost(machine, fresh);
    if (kind !== null) hosts[kind].push(hostOf(machine, fresh, world.capacityOf));
  }
  return {
    localAgents,
    staleLocal: localAgents.filter((agent) => !isFresh(agent)).length,
    machines,
    cloud: hosts.cloud,
    staleCloud,
    inFlight: hosts.inFlight,
    returnable: hosts.returnable.sort(cheapestFirst),
    stopped: stopped.map((machine) => hostOf(machine, null, world.capacityOf)).sort(cheapestFirst),
    reporting,
  };
}

function cheapestFirst(a: Host, b: Host): number {
  return a.machine.priceUsdPerHour - b.machine.priceUsdPerHour || compareText(a.machine.id, b.machine.id);
}

function isStopped({ state }: MachineView): boolean {
  return state === 'stopped';
}

function kindOfHost(machine: MachineView, freshAgent: AgentView | null): 'cloud' | 'inFlight' | 'returnable' | null {
  if (IN_FLIGHT_STATES.includes(machine.state)) return 'inFlight';
  // A silent agent's room is not known, so it is not offered.
  if (freshAgent === null) return null;
  if (machine.state === 'ready') return freshAgent.cordoned ? null : 'cloud';
  return machine.state === 'draining' && isReturnable(machine) ? 'returnable' : null;
}

/** Only what the planner itself let go may be taken back: an operator's drain, or a doomed machine's, stands. */
function isReturnable(machine: MachineView): boolean {
  const { endReason = null } = machine;
  return !machine.drainIrrevocable && (endReason === null || endReason === 'scale-down');
}

function hostOf(machine: MachineView, agent: AgentView | null, capacityOf: CapacityOf): Host {
  const capacity = agent?.capacity ?? capacityOf(machine.instanceType, machine.resources);
  return {
    machine,
    place: slotPlace(
      { site: 'aws', arch: agent?.arch ?? machine.arch ?? null, market: machine.market },
      Math.max(capacity.gpus, machine.resources.gpus) > 0,
    ),
    capacity,
    free: subtractResources(capacity, agent?.allocated ?? NO_RESOURCES),
    runningTasks: agent?.runningTasks ?? 0,
  };
}

/** Where an on-prem agent is. */
export function placeOfLocal({ arch, capacity }: AgentView): SlotPlace {
  return slotPlace({ site: 'on-prem', arch: arch ?? null, market: null }, capacity.gpus > 0);
}

/** Slots of the workload's on-prem agents that are fresh and not cordoned: the shared ones, as earlier workloads left them. */
export function localSlotsOf(world: World, fleet: Fleet): Slot[] {
  const slots: Slot[] = [];
  for (const { agent, machine } of fleet.reporting) {
    if (machine !== null || agent.cordoned) continue;
    const slot = world.localSlots.get(agent.id);
    if (slot !== undefined) slots.push(slot);
  }
  return slots;
}

/**
 * Slots of cloud machines. Those at work come first and then the cheapest, so that dear machines without work stay
 * without, and can go.
 */
export function hostSlots(hosts: readonly Host[]): Slot[] {
  const keys = hosts.map((host) => (isAtWork(host) ? -1 : host.machine.priceUsdPerHour));
  const ranks = new Map([...new Set(keys)].sort((a, b) => a - b).map((key, rank) => [key, rank]));
  return hosts.map((host, index) => ({
    id: host.machine.id,
    count: 1,
    rank: ranks.get(keys[index] ?? -1) ?? 0,
    place: host.place,
    free: host.free,
    taken: 0,
  }));
}

/** Somebody said that it stays. */
export function isProtected({ machine }: Pick<Host, 'machine'>): boolean {
  return machine.protection !== undefined;
}

/** Anything promised counts as work: an idle agent may start a task between this look and its drain. */
export function isAtWork(host: Host): boolean {
  return (
    host.runningTasks > 0 ||
    host.free.cpuMilli < host.capacity.cpuMilli ||
    host.free.memoryMib < host.capacity.memoryMib ||
    host.free.gpus < host.capacity.gpus
  );
}

/** Capacity of on-prem agents that take work now. */
export function localCapacity({ reporting }: Fleet): Resources {
  const taking = reporting.filter(({ agent, machine }) => machine === null && !agent.cordoned);
  return sumOf(taking, ({ agent }) => agent.capacity);
}

export function sumCapacity(parts: readonly { readonly capacity: Resources }[]): Resources {
  return sumOf(parts, ({ capacity }) => capacity);
}

export function sumFree(parts: readonly { readonly free: Resources }[]): Resources {
  return sumOf(parts, ({ free }) => free);
}

function sumOf<Part>(parts: readonly Part[], resourcesOf: (part: Part) => Resources): Resources {
  const sum = { cpuMilli: 0, memoryMib: 0, gpus: 0 };
  for (const part of parts) {
    const { cpuMilli, memoryMib, gpus } = resourcesOf(part);
    sum.cpuMilli += cpuMilli;
    sum.memoryMib += memoryMib;
    sum.gpus += gpus;
  }
  return sum;
}
