import type { TaskLogDocument } from '../../ports/reports.ts';
import type { Output } from '../output/output.ts';
import { terminalSafeLines } from '../output/terminal-text.ts';
import type { CommandSpec } from '../types.ts';

/** Agents send their logs with the heartbeat, every few seconds; asking more often shows nothing sooner. */
const FOLLOW_INTERVAL_MS = 1000;

export const taskLogs: CommandSpec = {
  path: 'task logs',
  summary: 'Print what a task wrote',
  description: 'Into a pipe or file the bytes go as they are; on a terminal control characters are shown, not obeyed.',
  arguments: [{ name: 'TASK', summary: 'id of the task, tk-...' }],
  options: [
    { name: 'follow', short: 'f', summary: 'go on until the task is over' },
    { name: 'attempt', value: 'N', summary: 'an earlier attempt, from 1; else the newest' },
  ],
  examples: [
    { command: 'spillway task logs tk-7f3ak2p9qx0z', summary: 'what there is so far' },
    { command: 'spillway task logs -f tk-7f3ak2p9qx0z', summary: 'until it ends; Ctrl-C leaves the task running' },
  ],
  output: 'none',
  exitCodes: [3],
  seeAlso: ['task show'],
  async run({ args, options, output, client, wiring, signal }) {
    const service = await client();
    const path = `/v1/tasks/${encodeURIComponent(args[0] ?? '')}/logs`;
    const decoder = new TextDecoder();
    let attempt = options.integer('attempt', { min: 1, max: 1_000_000 });
    let offset = 0;
    if (options.isSet('follow'))
      signal.addEventListener('abort', () => output.hint('the task runs on without you; follow it again at any time'));
    // Bounded by the task: it ends, or its lease does, or Ctrl-C comes.
    for (;;) {
      const piece = await service.get<TaskLogDocument>('TaskLog', path, { attempt, offset });
      attempt ??= piece.attempt === 0 ? null : piece.attempt;
      print(piece, output, decoder);
      const idle = piece.nextOffset === offset;
      offset = piece.nextOffset;
      if (piece.ended || (idle && !options.isSet('follow'))) return 0;
      if (idle) await wiring.sleep(FOLLOW_INTERVAL_MS, signal);
    }
  },
};

function print(piece: TaskLogDocument, output: Output, decoder: InstanceType<typeof TextDecoder>): void {
  const bytes = Buffer.from(piece.contentBase64, 'base64');
  if (bytes.length === 0) return;
  output.raw(output.interactive ? terminalSafeLines(decoder.decode(bytes, { stream: true })) : bytes);
}
