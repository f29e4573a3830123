import { selects } from '../model/agent.ts';
import type { AgentId } from '../model/ids.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { EpochMs } from '../model/time.ts';
import { mayRunAt } from '../model/constraints.ts';
import {
  fits,
  multiplyResources,
  NO_RESOURCES,
  subtractResources,
  timesFitting,
  type Resources,
} from '../model/resources.ts';
import { claimantOf, nextClaimant, tasksPerTurn, withTasks, type Claimant } from '../planner/fair-share.ts';
import { PASSED_OVER_MAX_MS } from '../planner/keep-local.ts';
import type { FreeAgent, LocalShares, PendingGroup, TaskKind } from '../ports/tasks.ts';

/** So many tasks of one queue for one agent. */
export interface Match extends TaskKind {
  readonly agentId: AgentId;
  readonly count: number;
}

/**
 * Groups in the order in which they get room: those that have waited long beyond their `maxWait` by age, then the dearest in the
 * cloud first ({@link PendingGroup.rank}), of equal ones the oldest. Workloads do not mix: they draw in turns.
 */
export function lineUp(
  groups: readonly PendingGroup[],
  policies: ReadonlyMap<string, WorkloadPolicy>,
  nowMs: EpochMs,
): readonly PendingGroup[] {
  const placeOf = ({ workload, rank, oldestPendingSinceMs }: PendingGroup): number => {
    const maxWaitMs = policies.get(workload)?.demand.queue?.maxWaitMs ?? 0;
    return nowMs - oldestPendingSinceMs > maxWaitMs + PASSED_OVER_MAX_MS ? Infinity : (rank ?? 0);
  };
  const lined = groups.map((group) => ({ group, place: placeOf(group) }));
  lined.sort((a, b) => {
    if (a.place !== b.place) return a.place > b.place ? -1 : 1;
    return a.group.oldestPendingSinceMs - b.group.oldestPendingSinceMs;
  });
  return lined.map(({ group }) => group);
}

/**
 * Which pending work goes to which agent now. Pure. Workloads that may use the same local agents draw in turns, by the planner's
 * `nextClaimant`. Of one workload groups come in the order given; a group whose tasks do
 * not fit is skipped, not waited for. Within a group local agents come first, of each site those without GPUs when the tasks
 * need none, then the tightest fit by CPU, so that room for large tasks stays whole.
 */
export function matchTasks(
  groups: readonly PendingGroup[],
  agents: readonly FreeAgent[],
  policies: ReadonlyMap<string, WorkloadPolicy>,
  shares: LocalShares,
): readonly Match[] {
  const room: Room = { free: new Map(agents.map((agent) => [agent.id, agent.free])), matches: new Map() };
  const claims = [...Map.groupBy(groups, ({ workload }) => workload)].map(([workload, own]): Claim => {
    const policy = policies.get(workload);
    const claimant = claimantOf(workload, policy, shares.held.get(workload) ?? NO_RESOURCES);
    const queue = own.map((group) => ({ group, left: group.count, takers: null, tried: 0 }));
    return { claimant, queue, serving: agents.filter((agent) => serves(agent, workload, policy)) };
  });
  const rivals = findRivals(claims);
  for (let wanting = claims; ;) {
    wanting = wanting.filter(({ queue }) => queue.length > 0);
    const claim = nextClaimant(wanting, shares.capacity);
    const head = claim?.queue[0];
    if (claim === null || head === undefined) return [...room.matches.values()];
    const { shape } = head.group;
    const turn = rivals.has(claim) ? Math.min(head.left, tasksPerTurn(shape, shares.capacity)) : head.left;
    const onLocal = giveTurn(room, claim, turn);
    claim.claimant = withTasks(claim.claimant, shape, onLocal);
    // Whoever found no local room finds none later in this pass: what is left goes to machines of its own, at once.
    if (onLocal < turn) giveTurn(room, claim, head.left);
    if (onLocal < turn || head.left === 0) claim.queue.shift();
  }
}

/** A workload with pending tasks and the agents that serve it. */
interface Claim {
  claimant: Claimant;
  /** Still to be given out, the next group first. */
  readonly queue: Line[];
  readonly serving: readonly FreeAgent[];
}

/** Tasks of one group in line for agents. */
interface Line {
  readonly group: PendingGroup;
  left: number;
  /** In the order of preference when the group first had its turn; null before. */
  takers: readonly FreeAgent[] | null;
  /** So many of the takers are full: room only shrinks. */
  tried: number;
}

interface Room {
  readonly free: Map<AgentId, Resources>;
  /** In the order in which each was first chosen. */
  readonly matches: Map<string, Match>;
}

/** Workloads that share a local agent with another. */
function findRivals(claims: readonly Claim[]): ReadonlySet<Claim> {
  const usersOf = new Map<AgentId, Claim[]>();
  for (const claim of claims) {
    for (const { id, site } of claim.serving) {
      if (site === 'on-prem') usersOf.set(id, [...(usersOf.get(id) ?? []), claim]);
    }
  }
  return new Set([...usersOf.values()].filter(({ length }) => length > 1).flat());
}

/** Gives out so many tasks of the claim's first line, if they fit; returns how many went to local agents. */
function giveTurn(room: Room, { queue, serving }: Claim, turn: number): number {
  const [line] = queue;
  if (line === undefined) return 0;
  const { workload, shape, constraints } = line.group;
  const roomOf = (agent: FreeAgent): Resources => room.free.get(agent.id) ?? agent.free;
  line.takers ??= serving
    .filter((agent) => fits(shape, roomOf(agent)) && mayRunAt(constraints, agent))
    .sort((a, b) => byPreference(a, b, { shape, free: room.free }));
  let left = turn;
  let onLocal = 0;
  for (let agent = line.takers[line.tried]; agent !== undefined && left > 0; agent = line.takers[line.tried]) {
    const count = Math.min(left, timesFitting(shape, roomOf(agent)));
    if (count > 0) {
      const match = { agentId: agent.id, workload, shape, constraints };
      const key = JSON.stringify(match);
      room.matches.set(key, { ...match, count: count + (room.matches.get(key)?.count ?? 0) });
      room.free.set(agent.id, subtractResources(roomOf(agent), multiplyResources(shape, count)));
      if (agent.site === 'on-prem') onLocal += count;
      left -= count;
    }
    if (left > 0) line.tried += 1;
  }
  line.left -= turn - left;
  return onLocal;
}

/** On-prem agents serve every workload whose selector they match; a cloud agent serves the one it was launched for. */
function serves(agent: FreeAgent, workload: string, policy: WorkloadPolicy | undefined): boolean {
  if (agent.site === 'aws') return agent.workload === workload;
  return policy !== undefined && selects(policy.agents.selector)(agent);
}

interface Preference {
  readonly shape: Resources;
  readonly free: ReadonlyMap<AgentId, Resources>;
}

function byPreference(a: FreeAgent, b: FreeAgent, { shape, free }: Preference): number {
  if (a.site !== b.site) return a.site === 'on-prem' ? -1 : 1;
  if (shape.gpus === 0 && a.hasGpus !== b.hasGpus) return a.hasGpus ? 1 : -1;
  const tightness = cpuOf(free, a) - cpuOf(free, b);
  if (tightness !== 0) return tightness;
  return a.id < b.id ? -1 : 1;
}

function cpuOf(free: ReadonlyMap<AgentId, Resources>, { id }: FreeAgent): number {
  return free.get(id)?.cpuMilli ?? 0;
}
