import type { ServiceHealth } from '../ports/operator.ts';
import type { DrainStatus } from '../ports/drain-documents.ts';
import type { LayerStatus, StatusDocument } from '../ports/reports.ts';
import { cores, gib, humanAge, humanSeconds, humanUsd, shape } from './output/format.ts';
import type { Output } from './output/output.ts';
import type { Column } from './output/table.ts';
import { terminalSafe } from './output/terminal-text.ts';
import type { CommandSpec } from './types.ts';

type Status = StatusDocument & { readonly service: ServiceHealth };

const LAYER_COLUMNS: readonly Column<LayerStatus>[] = [
  { header: 'LAYER', raw: (row) => row.layer },
  { header: 'AGENTS', align: 'right', raw: (row) => row.agents },
  { header: 'READY', align: 'right', raw: (row) => row.ready },
  { header: 'STALE', align: 'right', raw: (row) => row.stale },
  { header: 'DRAINING', align: 'right', raw: (row) => row.draining },
  { header: 'CORES', align: 'right', raw: (row) => cores(row.capacity.cpuMilli) },
  { header: 'BUSY', align: 'right', raw: (row) => cores(row.allocated.cpuMilli) },
  { header: 'FREE', align: 'right', raw: (row) => cores(row.free.cpuMilli) },
  { header: 'GIB', align: 'right', raw: (row) => gib(row.capacity.memoryMib) },
  { header: '$/H', align: 'right', raw: (row) => (row.usdPerHour === null ? null : humanUsd(row.usdPerHour, 3)) },
];

/** Only where there are any. */
const GPU_COLUMNS: readonly Column<LayerStatus>[] = [
  { header: 'GPUS', align: 'right', raw: (row) => row.capacity.gpus },
  { header: 'FREE GPUS', align: 'right', raw: (row) => row.free.gpus },
];

export const status: CommandSpec = {
  path: 'status',
  summary: 'Show capacity, waiting work, machines and money on one screen',
  examples: [
    { command: 'spillway status', summary: 'how things stand' },
    { command: 'spillway status -o json', summary: 'the same for a program' },
  ],
  output: 'object',
  seeAlso: ['plan', 'machine list'],
  async run({ client, output, nowMs }) {
    const document = await (await client()).get<Status>('Status', '/v1/status');
    await output.object('Status', document, () => describeStatus(document, output, nowMs()));
    return 0;
  },
};

function describeStatus(document: Status, output: Output, nowMs: number): void {
  const { service } = document;
  const planned =
    document.lastPlan === null
      ? 'no plan yet'
      : `last plan ${humanAge(document.lastPlan.decidedAt, nowMs)} ago (${document.lastPlan.id})`;
  output.line(
    `Service: ${output.paintState(service.ready ? 'ready' : 'not ready')}, ${service.leader ? 'leading' : 'standing by'}, ${planned}`,
  );
  for (const check of service.checks.filter((candidate) => candidate.state !== 'ok')) {
    output.line(`  ! ${check.name} ${output.paintState(check.state)}: ${terminalSafe(check.detail)}`);
  }
  if (document.amnesia !== null) {
    output.line(
      `Memory: ${terminalSafe(document.amnesia.detail)}; since ${humanAge(document.amnesia.since, nowMs)} ago`,
    );
  }
  const hasGpus = document.layers.some(({ capacity }) => capacity.gpus > 0);
  output.block(hasGpus ? [...LAYER_COLUMNS, ...GPU_COLUMNS] : LAYER_COLUMNS, document.layers);
  output.line(`Waiting: ${waitingSentence(document)}`);
  output.line(`Machines: ${machinesSentence(document)}`);
  const drains = document.drains.flatMap(drainClauses);
  if (drains.length > 0) output.line(`Drains: ${drains.join('; ')}`);
  output.line(
    `Money: $${humanUsd(document.usdPerHour, 3)}/h now, $${humanUsd(document.spend.todayUsd)} today, $${humanUsd(document.spend.monthUsd)} this month (UTC)`,
  );
}

function waitingSentence({ waiting }: Status): string {
  if (waiting.length === 0) return 'nothing';
  return waiting
    .map(({ workload, tasks, resources, oldestWaitS }) => {
      return `${tasks} ${tasks === 1 ? 'task' : 'tasks'} of ${terminalSafe(workload)} (${shape(resources)}; oldest ${humanSeconds(oldestWaitS)})`;
    })
    .join('; ');
}

function machinesSentence({ machines }: Status): string {
  if (machines.length === 0) return 'none';
  const counts = new Map<string, number>();
  for (const { state, count } of machines) counts.set(state, (counts.get(state) ?? 0) + count);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(', ');
}

/** What does not go on by itself as it should; nothing of drains that just take their time. */
function drainClauses({ workload, overdue, oldestOverdueS, heldByHealth, heldByTurn }: DrainStatus): string[] {
  const name = terminalSafe(workload);
  const late = `${overdue} of ${name} past ${overdue === 1 ? 'its' : 'their'} deadline`;
  return [
    ...(overdue === 0 ? [] : [`${late} (oldest by ${humanSeconds(oldestOverdueS ?? 0)})`]),
    ...(heldByHealth === 0 ? [] : [`${heldByHealth} of ${name} held by the hook health`]),
    ...(heldByTurn === 0 ? [] : [`${heldByTurn} of ${name} held until another machine has gone`]),
  ];
}
