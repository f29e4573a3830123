import type { TaskDocument } from '../../ports/reports.ts';
import { humanSeconds, shape } from '../output/format.ts';
import { keyValues } from '../output/key-values.ts';
import type { CommandSpec } from '../types.ts';

/** Null when it may run anywhere. */
function describeConstraints({ constraints }: TaskDocument): string | null {
  const { arch, localOnly, spotOk } = constraints;
  const parts = [
    ...(arch === null ? [] : [`on ${arch}`]),
    ...(localOnly ? ['on local agents only'] : []),
    ...(spotOk ? [] : ['not on spot machines']),
  ];
  return parts.length === 0 ? null : parts.join(', ');
}

export const taskShow: CommandSpec = {
  path: 'task show',
  summary: 'Show one task',
  arguments: [{ name: 'TASK', summary: 'id of the task, tk-...' }],
  examples: [{ command: 'spillway task show tk-7f3ak2p9qx0z', summary: 'state, place, times, exit code, progress' }],
  output: 'object',
  exitCodes: [3],
  seeAlso: ['task logs', 'task list'],
  async run({ args, output, client }) {
    const task = await (await client()).get<TaskDocument>('Task', `/v1/tasks/${encodeURIComponent(args[0] ?? '')}`);
    await output.object('Task', task, () => {
      const lines = keyValues([
        ['ID', task.id],
        ['Workload', task.workload],
        ['State', task.state],
        ['Command', task.command.join(' ')],
        ['Shape', shape(task.shape)],
        ['Runs', describeConstraints(task)],
        ['Run time', task.runTimeS === null ? null : `${humanSeconds(task.runTimeS)}, as submitted`],
        ['Attempt', String(task.attempt)],
        ['Agent', task.agentName === null ? null : `${task.agentName} (${task.agentId ?? ''})`],
        ['Machine', task.machineId],
        ['Submitted', task.submittedAt],
        ['Waited', humanSeconds(task.waitedS)],
        ['Started', task.startedAt],
        ['Ran', task.ranS === null ? null : humanSeconds(task.ranS)],
        ['Finished', task.finishedAt],
        ['Exit code', task.exitCode === null ? null : String(task.exitCode)],
        [
          'Progress',
          task.progressBase64 === null ? null : Buffer.from(task.progressBase64, 'base64').toString('utf8').trimEnd(),
        ],
      ]);
      lines.forEach((line) => output.line(line));
    });
    return 0;
  },
};
