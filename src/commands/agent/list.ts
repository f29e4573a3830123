import type { AgentDocument } from '../../ports/reports.ts';
import { cores, gib, humanAge, humanSeconds } from '../output/format.ts';
import type { Column } from '../output/table.ts';
import type { CommandSpec } from '../types.ts';

/** One word for how an agent is; silence outweighs everything, because nothing else about a silent agent is known. */
export function agentState(agent: AgentDocument): string {
  if (agent.freshness !== 'fresh') return agent.freshness === 'stale' ? 'stale' : 'new';
  if (!agent.cordoned) return 'ready';
  return agent.runningTasks > 0 ? 'draining' : 'cordoned';
}

function columns(nowMs: number): readonly Column<AgentDocument>[] {
  return [
    { header: 'AGENT', raw: (agent) => agent.name },
    { header: 'LAYER', human: (agent) => (agent.site === 'on-prem' ? 'local' : 'cloud'), raw: (agent) => agent.site },
    { header: 'STATE', raw: agentState },
    { header: 'CORES', align: 'right', raw: (agent) => cores(agent.capacity.cpuMilli) },
    {
      header: 'BUSY',
      align: 'right',
      human: (agent) => (agent.freshness === 'fresh' ? cores(agent.allocated.cpuMilli) : '?'),
      raw: (agent) => cores(agent.allocated.cpuMilli),
    },
    {
      header: 'MEM',
      align: 'right',
      human: (agent) => `${gib(agent.allocated.memoryMib)}/${gib(agent.capacity.memoryMib)}GiB`,
      raw: (agent) => agent.capacity.memoryMib,
    },
    { header: 'TASKS', align: 'right', raw: (agent) => agent.runningTasks },
    {
      header: 'SEEN',
      align: 'right',
      human: (agent) => (agent.lastSeenAgeS === null ? 'never' : `${humanSeconds(agent.lastSeenAgeS)} ago`),
      raw: (agent) => agent.lastSeenAt,
    },
    { header: 'MACHINE', raw: (agent) => agent.machineId },
    { header: 'GPUS', wide: true, align: 'right', raw: (agent) => agent.capacity.gpus },
    { header: 'ARCH', wide: true, raw: (agent) => agent.arch },
    { header: 'ID', wide: true, raw: (agent) => agent.id },
    {
      header: 'LABELS',
      wide: true,
      raw: (agent) =>
        Object.entries(agent.labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(','),
    },
    {
      header: 'REGISTERED',
      wide: true,
      human: (agent) => `${humanAge(agent.registeredAt, nowMs)} ago`,
      raw: (agent) => agent.registeredAt,
    },
  ];
}

export const agentList: CommandSpec = {
  path: 'agent list',
  summary: 'List the agents of the datacenter and of the cloud',
  options: [{ name: 'limit', short: 'n', value: 'N', summary: 'at most this many, up to 100000', default: '1000' }],
  examples: [
    { command: 'spillway agent list', summary: 'who is there and how busy' },
    { command: 'spillway agent list -o csv --columns agent,state,cores', summary: 'for a spreadsheet' },
  ],
  output: 'list',
  seeAlso: ['agent enrol', 'machine list'],
  async run({ options, output, client, nowMs }) {
    const limit = options.integer('limit', { min: 1, max: 100_000 }) ?? 1000;
    const { items, more } = await (await client()).list<AgentDocument>('AgentList', '/v1/agents', { limit });
    await output.list({
      kind: 'AgentList',
      items,
      columns: columns(nowMs()),
      name: (agent) => agent.id,
      empty: 'there are no agents; make a token for one with: spillway agent enrol',
    });
    if (more) output.hint(`there are more: raise --limit ${limit}`);
    return 0;
  },
};
