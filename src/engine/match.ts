import type { AgentId } from '../model/ids.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { multiplyResources, subtractResources, timesFitting, type Resources } from '../model/resources.ts';
import type { FreeAgent, PendingGroup } from '../ports/tasks.ts';

/** So many tasks of one queue for one agent. */
export interface Match {
  readonly agentId: AgentId;
  readonly workload: string;
  readonly shape: Resources;
  readonly count: number;
}

/**
 * Which pending work goes to which agent now. Pure. Groups come first to last by their oldest task; a group whose tasks do
 * not fit is skipped, not waited for. Within a group local agents come first, then the tightest fit by CPU, so that room
 * for large tasks stays whole.
 */
export function matchTasks(
  groups: readonly PendingGroup[],
  agents: readonly FreeAgent[],
  policies: ReadonlyMap<string, WorkloadPolicy>,
): readonly Match[] {
  const free = new Map(agents.map((agent) => [agent.id, agent.free]));
  const matches: Match[] = [];
  for (const group of groups) {
    const policy = policies.get(group.workload);
    let left = group.count;
    const serving = agents
      .filter((agent) => serves(agent, group.workload, policy))
      .sort((a, b) => bySiteThenTightness(a, b, free));
    for (const agent of serving) {
      if (left === 0) break;
      const room = free.get(agent.id) ?? agent.free;
      const count = Math.min(left, timesFitting(group.shape, room));
      if (count === 0) continue;
      matches.push({ agentId: agent.id, workload: group.workload, shape: group.shape, count });
      free.set(agent.id, subtractResources(room, multiplyResources(group.shape, count)));
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

function bySiteThenTightness(a: FreeAgent, b: FreeAgent, free: ReadonlyMap<AgentId, Resources>): number {
  if (a.site !== b.site) return a.site === 'on-prem' ? -1 : 1;
  const tightness = (free.get(a.id)?.cpuMilli ?? 0) - (free.get(b.id)?.cpuMilli ?? 0);
  if (tightness !== 0) return tightness;
  return a.id < b.id ? -1 : 1;
}
