import { MACHINE_STATES } from '../../model/machine.ts';
import type { MachineDocument } from '../../ports/reports.ts';
import { cores, humanAge, humanUsd } from '../output/format.ts';
import type { Column } from '../output/table.ts';
import type { CommandSpec } from '../types.ts';
import { protectionText } from './protection-text.ts';

function busyOf({ allocated, resources }: MachineDocument): string {
  return allocated === null ? '' : `${cores(allocated.cpuMilli)}/${cores(resources.cpuMilli)}`;
}

function columns(nowMs: number): readonly Column<MachineDocument>[] {
  return [
    { header: 'ID', raw: (machine) => machine.id },
    { header: 'WORKLOAD', raw: (machine) => machine.workload },
    { header: 'STATE', raw: (machine) => machine.state },
    { header: 'TYPE', raw: (machine) => machine.instanceType },
    { header: 'MARKET', raw: (machine) => machine.market },
    { header: 'ZONE', raw: (machine) => machine.zone },
    {
      header: 'AGE',
      align: 'right',
      human: (machine) => humanAge(machine.createdAt, nowMs),
      raw: (machine) => machine.createdAt,
    },
    { header: 'BUSY', align: 'right', raw: busyOf },
    {
      header: '$/H',
      align: 'right',
      human: (machine) => humanUsd(machine.priceUsdPerHour, 3),
      raw: (machine) => machine.priceUsdPerHour,
    },
    {
      header: 'COST',
      align: 'right',
      human: (machine) => humanUsd(machine.costUsd, 4),
      raw: (machine) => machine.costUsd,
    },
    { header: 'REASON', raw: (machine) => machine.endReason ?? machine.reason },
    { header: 'INSTANCE', wide: true, raw: (machine) => machine.instanceId },
    {
      header: 'PROTECTED',
      wide: true,
      raw: ({ protection }) => (protection === null ? null : protectionText(protection)),
    },
    { header: 'ADDRESS', wide: true, raw: (machine) => machine.privateIp },
    { header: 'AGENT', wide: true, raw: (machine) => machine.agentId },
    {
      header: 'SINCE',
      wide: true,
      human: (machine) => `${humanAge(machine.stateSince, nowMs)} ago`,
      raw: (machine) => machine.stateSince,
    },
  ];
}

export const machineList: CommandSpec = {
  path: 'machine list',
  summary: 'List cloud machines, newest first',
  options: [
    { name: 'all', short: 'a', summary: 'terminated machines too' },
    { name: 'workload', short: 'w', value: 'WORKLOAD', names: 'workloads', summary: 'only machines of this workload' },
    { name: 'state', value: 'STATE', summary: 'only machines in this state', choices: MACHINE_STATES },
    { name: 'limit', short: 'n', value: 'N', summary: 'at most this many, up to 100000', default: '1000' },
  ],
  examples: [
    { command: 'spillway machine list', summary: 'what lives' },
    { command: 'spillway machine list --all -o csv', summary: 'everything there ever was' },
  ],
  output: 'list',
  seeAlso: ['machine show', 'cost report'],
  async run({ options, output, client, nowMs }) {
    const limit = options.integer('limit', { min: 1, max: 100_000 }) ?? 1000;
    const query = {
      limit,
      all: options.isSet('all'),
      workload: options.text('workload'),
      state: options.text('state'),
    };
    const { items, more } = await (await client()).list<MachineDocument>('MachineList', '/v1/machines', query);
    const empty = options.isSet('all')
      ? 'there never was such a machine'
      : 'no such machine lives; ended ones: spillway machine list --all';
    await output.list({ kind: 'MachineList', items, columns: columns(nowMs()), name: (machine) => machine.id, empty });
    if (more) output.hint(`there are more: raise --limit ${limit}`);
    return 0;
  },
};
