import type { TaskDocument } from '../../ports/reports.ts';
import { cores, gib, humanAge, humanSeconds } from '../output/format.ts';
import type { Column } from '../output/table.ts';
import type { CommandSpec } from '../types.ts';

export const TASK_STATES = ['pending', 'leased', 'running', 'done', 'failed', 'cancelled'];

function columns(nowMs: number): readonly Column<TaskDocument>[] {
  return [
    { header: 'ID', raw: (task) => task.id },
    { header: 'WORKLOAD', raw: (task) => task.workload },
    { header: 'STATE', raw: (task) => task.state },
    { header: 'CORES', align: 'right', raw: (task) => cores(task.shape.cpuMilli) },
    {
      header: 'MEM',
      align: 'right',
      human: (task) => `${gib(task.shape.memoryMib)}GiB`,
      raw: (task) => task.shape.memoryMib,
    },
    { header: 'GPUS', wide: true, align: 'right', raw: (task) => task.shape.gpus },
    { header: 'WAITED', align: 'right', human: (task) => humanSeconds(task.waitedS), raw: (task) => task.waitedS },
    {
      header: 'RAN',
      align: 'right',
      human: (task) => (task.ranS === null ? '' : humanSeconds(task.ranS)),
      raw: (task) => task.ranS,
    },
    { header: 'WHERE', human: whereOf, raw: (task) => task.machineId ?? task.agentName },
    { header: 'EXIT', align: 'right', raw: (task) => task.exitCode },
    { header: 'TRY', wide: true, align: 'right', raw: (task) => task.attempt },
    {
      header: 'SUBMITTED',
      wide: true,
      human: (task) => `${humanAge(task.submittedAt, nowMs)} ago`,
      raw: (task) => task.submittedAt,
    },
    { header: 'COMMAND', wide: true, raw: (task) => task.command.join(' ') },
  ];
}

function whereOf(task: TaskDocument): string {
  if (task.agentName === null) return '';
  // Agents of the cloud are named after their machine: said once is enough.
  return task.machineId === null || task.machineId === task.agentName
    ? task.agentName
    : `${task.agentName} (${task.machineId})`;
}

export const taskList: CommandSpec = {
  path: 'task list',
  summary: 'List tasks, newest first',
  options: [
    { name: 'workload', short: 'w', value: 'WORKLOAD', names: 'workloads', summary: 'only tasks of this workload' },
    { name: 'state', value: 'STATE', summary: 'only tasks in this state', choices: TASK_STATES },
    { name: 'limit', short: 'n', value: 'N', summary: 'at most this many, up to 100000', default: '100' },
  ],
  examples: [
    { command: 'spillway task list --workload transcode --state pending', summary: 'what waits' },
    { command: 'spillway task list -o jsonl --limit 100000', summary: 'everything, one JSON object a line' },
  ],
  output: 'list',
  seeAlso: ['task show', 'task logs'],
  async run({ options, output, client, nowMs }) {
    const limit = options.integer('limit', { min: 1, max: 100_000 }) ?? 100;
    const query = { limit, workload: options.text('workload'), state: options.text('state') };
    const { items, more } = await (await client()).list<TaskDocument>('TaskList', '/v1/tasks', query);
    await output.list({
      kind: 'TaskList',
      items,
      columns: columns(nowMs()),
      name: (task) => task.id,
      empty: 'there are no such tasks',
    });
    if (more) output.hint(`there are more: raise --limit ${limit}`);
    return 0;
  },
};
