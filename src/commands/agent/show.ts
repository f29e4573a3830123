import type { AgentExplanation } from '../../ports/explanations.ts';
import { gib, humanSeconds, shape } from '../output/format.ts';
import { keyValues } from '../output/key-values.ts';
import { terminalSafe } from '../output/terminal-text.ts';
import type { CommandSpec } from '../types.ts';
import { agentEventSentence } from './history.ts';
import { agentState } from './list.ts';

export const agentShow: CommandSpec = {
  path: 'agent show',
  summary: 'Show one agent: what it offers, what it holds, how it is, and what was ordered of it',
  arguments: [{ name: 'AGENT', summary: 'id of the agent, ag-..., or its name', names: 'agents' }],
  examples: [{ command: 'spillway agent show rack-1', summary: 'by name' }],
  output: 'object',
  exitCodes: [3],
  seeAlso: ['explain agent', 'agent list'],
  async run({ args, output, client }) {
    const path = `/v1/agents/${encodeURIComponent(args[0] ?? '')}/explanation`;
    const facts = await (await client()).get<AgentExplanation>('AgentExplanation', path);
    await output.object('AgentExplanation', facts, () => {
      linesOf(facts).forEach((line) => output.line(line));
      if (facts.events.length === 0) return;
      output.line('');
      facts.events.forEach((event) => output.line(terminalSafe(agentEventSentence(event))));
    });
    return 0;
  },
};

function linesOf({ agent, leftAt, removedAt, tasks, workloads }: AgentExplanation): string[] {
  const labels = Object.entries(agent.labels).map(([key, value]) => `${key}=${value}`);
  const { allocated, used } = agent;
  const held = tasks.items.map(({ id, workload, state }) => `${id} (${workload}, ${state})`);
  const others = agent.otherTasks === null ? 'not known: its probe fails' : String(agent.otherTasks);
  return keyValues([
    ['ID', agent.id],
    ['Name', agent.name],
    ['State', removedAt === null ? (leftAt === null ? agentState(agent) : 'left') : 'removed'],
    ['Site', agent.site],
    ['Machine', agent.machineId],
    ['Offers', shape(agent.capacity)],
    ['Arch', agent.arch],
    ['Held', `${allocated.cpuMilli / 1000} cores, ${gib(allocated.memoryMib)} GiB`],
    ['Used', used === null ? null : `${used.cpuMilli / 1000} cores, ${gib(used.memoryMib)} GiB`],
    ['Tasks', held.length < tasks.total ? `${held.join(', ')} and ${tasks.total - held.length} more` : held.join(', ')],
    ['Other engines', agent.otherTasks === 0 ? null : others],
    ['Cordon', agent.cordoned ? (agent.cordonAcknowledged ? 'acknowledged' : 'not acknowledged yet') : null],
    ['Rebalance', agent.rebalanceNoticedAt],
    ['Labels', labels.join(', ')],
    ['Workloads', workloads.map(({ workload }) => workload).join(', ')],
    ['Seen', agent.lastSeenAgeS === null ? 'never' : `${humanSeconds(agent.lastSeenAgeS)} ago`],
    ['Registered', agent.registeredAt],
    ['Left', leftAt],
    ['Removed', removedAt],
  ]);
}
