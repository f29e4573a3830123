/** A process for tests to kill: consumes the wake queue, tells each job it gets, and never finishes one. */
import { openQueues } from './open-queues.ts';

const address = JSON.parse(process.argv[2] ?? '{}');
const queues = await openQueues(address);
await queues.wake.consume(
  async (job) => {
    process.send?.(job);
    await new Promise(() => undefined);
    return { kind: 'done' };
  },
  { concurrency: 1 },
);
