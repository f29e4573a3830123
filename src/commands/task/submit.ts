import { SECOND_MS } from '../../model/time.ts';
import { parseCpu, parseDuration, parseSize } from '../../model/units.ts';
import { parseUnit, usage } from '../options.ts';
import type { Column } from '../output/table.ts';
import type { CommandSpec } from '../types.ts';

interface SubmittedTask {
  readonly id: string;
  readonly workload: string;
}

const COLUMNS: readonly Column<SubmittedTask>[] = [
  { header: 'ID', raw: (task) => task.id },
  { header: 'WORKLOAD', raw: (task) => task.workload },
];

/** One request may bring this many; more are several commands. */
export const TASKS_PER_SUBMIT_MAX = 10_000;

export const taskSubmit: CommandSpec = {
  path: 'task submit',
  summary: 'Give a workload tasks to run',
  description:
    "The command is run without a shell. Without --cpu and --memory a task has the shape the policy's queue signal names.",
  arguments: [{ name: 'COMMAND', summary: 'the program and its arguments, after --', variadic: true }],
  options: [
    {
      name: 'workload',
      short: 'w',
      value: 'WORKLOAD',
      names: 'workloads',
      summary: 'which policy it runs under',
      required: true,
    },
    { name: 'cpu', value: 'CORES', summary: 'cores it needs, such as 2 or 0.5; together with --memory' },
    { name: 'memory', value: 'SIZE', summary: 'memory it needs, such as 4GiB; together with --cpu' },
    { name: 'gpus', value: 'N', summary: "GPUs it needs and has to itself; default: as many as the policy's task" },
    { name: 'arch', value: 'ARCH', summary: 'the architecture it needs; default: any', choices: ['x86_64', 'arm64'] },
    { name: 'local-only', summary: 'never run it in the cloud' },
    { name: 'no-spot', summary: 'never run it on a spot machine, which EC2 may take back' },
    { name: 'run-time', value: 'DURATION', summary: 'how long one is expected to run, such as 30m' },
    {
      name: 'count',
      short: 'n',
      value: 'N',
      summary: `how many such tasks, at most ${TASKS_PER_SUBMIT_MAX}`,
      default: '1',
    },
  ],
  examples: [
    { command: 'spillway task submit --workload transcode -- /opt/encode.sh input.mov', summary: 'one task' },
    {
      command: "spillway task submit -w transcode --cpu 2 --memory 4GiB --count 20 -- sh -c 'sleep 5'",
      summary: 'twenty tasks of two cores',
    },
    {
      command: 'spillway task submit -w train --gpus 1 --no-spot --run-time 6h -- /opt/train.sh',
      summary: 'a task with a GPU of its own that is not to be interrupted',
    },
    {
      command: 'id=$(spillway task submit -q -w transcode -- date) && spillway task logs -f "$id"',
      summary: 'submit and follow',
    },
  ],
  output: 'list',
  exitCodes: [3],
  seeAlso: ['task list', 'task logs'],
  async run({ args, options, output, client }) {
    const workload = options.requiredText('workload');
    const cpu = options.text('cpu');
    const memory = options.text('memory');
    if ((cpu === null) !== (memory === null))
      throw usage('--cpu and --memory belong together', 'give both, or neither for the shape of the policy');
    const shape =
      cpu === null || memory === null
        ? null
        : { cpuMilli: parseUnit('cpu', cpu, parseCpu), memoryMib: parseUnit('memory', memory, parseSize) };
    const runTime = options.text('run-time');
    const count = options.integer('count', { min: 1, max: TASKS_PER_SUBMIT_MAX }) ?? 1;
    const receipt = await (
      await client()
    ).post<{ readonly taskIds: readonly string[] }>('TaskReceipt', '/v1/tasks', {
      workload,
      command: args,
      shape,
      gpus: options.integer('gpus', { min: 0, max: 1024 }),
      arch: options.text('arch'),
      localOnly: options.isSet('local-only'),
      spotOk: !options.isSet('no-spot'),
      // Whole seconds: a task that takes less is as good as one of a second.
      runTimeS:
        runTime === null ? null : Math.max(1, Math.round(parseUnit('run-time', runTime, parseDuration) / SECOND_MS)),
      count,
    });
    const items = receipt.taskIds.map((id) => ({ id, workload }));
    if (output.form !== 'table' || output.quiet) {
      await output.list({
        kind: 'TaskReceiptList',
        items,
        columns: COLUMNS,
        name: (task) => task.id,
        empty: 'nothing was submitted',
      });
      return 0;
    }
    items.forEach(({ id }) => output.line(`task ${id} submitted`));
    output.hint(
      items.length === 1
        ? `next: spillway task logs -f ${items[0]?.id}`
        : `next: spillway task list --workload ${workload}`,
    );
    return 0;
  },
};
