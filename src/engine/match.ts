import type { AgentId } from '../model/ids.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { mayRunAt } from '../model/constraints.ts';
import { multiplyResources, subtractResources, timesFitting, type Resources } from '../model/resources.ts';
import type { FreeAgent, PendingGroup, TaskKind } from '../ports/tasks.ts';

/** So many tasks of one queue for one agent. */
export interface Match extends TaskKind {
  readonly agentId: AgentId;
  readonly count: number;
}

/**
 * Which pending work goes to which agent now. Pure. Groups come first to last by their oldest task; a group whose tasks do
 * not fit is skipped, not waited for. Within a group local agents come first, of each site those without GPUs when the tasks
 * need none, then the tightest fit by CPU, so that room for large tasks stays whole.
 */
export function matchTasks(
  groups: readonly PendingGroup[],
  agents: readonly FreeAgent[],
  policies: ReadonlyMap<string, WorkloadPolicy>,
): readonly Match[] {
  const free = new Map(agents.map((agent) => [agent.id, agent.free]));
  const matches: Match[] = [];
  for (const group of groups) {
    const { workload, shape, constraints } = group;
    const policy = policies.get(workload);
    let left = group.count;
    const serving = agents
      .filter((agent) => serves(agent, workload, policy) && mayRunAt(constraints, agent))
      .sort((a, b) => byPreference(a, b, { shape, free }));
    for (const agent of serving) {
      if (left === 0) break;
      const room = free.get(agent.id) ?? agent.free;
      const count = Math.min(left, timesFitting(shape, room));
      if (count === 0) continue;
      matches.push({ agentId: agent.id, workload, shape, constraints, count });
      free.set(agent.id, subtractResources(room, multiplyResources(shape, count)));
      left -= count;
    }
  }
  return matches;
}

/** On-prem agents serve every workload whose selector they match; a cloud agent serves the one it was launched for. */
function serves(agent: FreeAgent, workload: string, policy: WorkloadPolicy | undefined): boolean {
  if (agent.site === 'aws') return agent.workload === workload;
  if (policy === undefined) return false;
  return Object.entries(policy.agents.selector).every(([key, value]) => agent.labels[key] === value);
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
