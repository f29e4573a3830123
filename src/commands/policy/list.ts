import type { WorkloadPolicy } from '../../model/policy.ts';
import type { Resources } from '../../model/resources.ts';
import type { LoadedPolicy } from '../../policy/types.ts';
import { formatCpu, formatDuration, formatMib } from '../../model/units.ts';
import type { Column } from '../output/table.ts';
import type { CommandSpec } from '../types.ts';

function taskShape({ cpuMilli, memoryMib, gpus }: Resources): string {
  return `${formatCpu(cpuMilli)}/${formatMib(memoryMib)}${gpus === 0 ? '' : `/${gpus}gpu`}`;
}

const COLUMNS: readonly Column<LoadedPolicy>[] = [
  { header: 'WORKLOAD', raw: ({ policy }) => policy.name },
  {
    header: 'AGENTS',
    raw: ({ policy }) =>
      Object.entries(policy.agents.selector)
        .map(([key, value]) => `${key}=${value}`)
        .join(','),
  },
  { header: 'SIGNALS', raw: ({ policy }) => signalsOf(policy).join(',') },
  {
    header: 'TASK',
    raw: ({ policy }) => (policy.demand.queue === null ? null : taskShape(policy.demand.queue.task)),
  },
  { header: 'REGION', raw: ({ policy }) => policy.burst.region },
  { header: 'MIN', align: 'right', raw: ({ policy }) => policy.burst.limits.min },
  { header: 'MAX', align: 'right', raw: ({ policy }) => policy.burst.limits.max },
  { header: 'SPOT', align: 'right', raw: ({ policy }) => `${Math.round(policy.burst.market.spot * 100)}%` },
  { header: '$/H MAX', align: 'right', raw: ({ policy }) => policy.burst.budget.hourlyUsd },
  {
    header: 'UNNEEDED',
    wide: true,
    align: 'right',
    raw: ({ policy: { drain } }) =>
      drain.scaleDownUnneededMs === null ? 'auto' : formatDuration(drain.scaleDownUnneededMs),
  },
  { header: 'FILE', wide: true, raw: ({ file }) => file },
];

export const policyList: CommandSpec = {
  path: 'policy list',
  summary: 'List the policies of SPILLWAY_POLICIES with their limits',
  description: 'Reads files only; no service is asked.',
  examples: [
    { command: 'spillway policy list', summary: 'all policies' },
    { command: 'spillway policy list -o json', summary: 'with every default filled in' },
  ],
  output: 'list',
  seeAlso: ['policy validate', 'plan'],
  async run({ wiring, output }) {
    const { loadPolicies } = await import('../../policy/load.ts');
    const { policyInvalidError } = await import('../../policy/format.ts');
    const { policiesPath } = await wiring.readConfig();
    const result = await loadPolicies([policiesPath], { checkFiles: false });
    if (!result.ok) throw policyInvalidError(result.issues);
    await output.list({
      kind: 'PolicyList',
      items: result.policies,
      columns: COLUMNS,
      name: ({ policy }) => policy.name,
      empty: `there are no policies in ${policiesPath}`,
    });
    return 0;
  },
};

function signalsOf({ demand }: WorkloadPolicy): string[] {
  return [
    ...(demand.utilization === null ? [] : ['utilization']),
    ...(demand.queue === null ? [] : ['queue']),
    ...(demand.headroom === null ? [] : ['headroom']),
  ];
}
