/**
 * A process for tests to kill, to stop and to set the clock of. It opens the queues of a store and does as it is told: every
 * handler of its wake queue waits for a word of the test, every call of its task queues is answered.
 */
import type { Log } from '../../src/ports/log.ts';
import type { TaskQueues, WakeOutcome } from '../../src/ports/queue.ts';
import { shiftClock } from './shift-clock.ts';
import type { StoreAddress } from './open-queues.ts';

export interface ConsumerSetup {
  readonly address: StoreAddress;
  /** By how much this process's wall clock is ahead of everybody else's. */
  readonly clockShiftMs: number;
}

export type Order =
  | { readonly order: 'consume' }
  | { readonly order: 'answer'; readonly outcome: WakeOutcome }
  | { readonly order: 'call'; readonly call: number; readonly method: keyof TaskQueues; readonly args: unknown[] };

export type Word =
  | { readonly word: 'open' | 'consuming' }
  | { readonly word: 'got'; readonly job: unknown }
  | { readonly word: 'log'; readonly message: string }
  | { readonly word: 'answered'; readonly call: number; readonly value?: unknown; readonly error?: string };

const setup = JSON.parse(process.argv[2] ?? '{}') as ConsumerSetup;
shiftClock(setup.clockShiftMs);
// Only now: whatever keeps the clock's functions at its import must keep the shifted ones.
const { openQueues } = await import('./open-queues.ts');

const tell = (word: Word): void => void process.send?.(word);
const hear = (_details: unknown, message: string): void => tell({ word: 'log', message });
const log: Log = { debug: hear, info: hear, warn: hear, error: hear };

const queues = await openQueues(setup.address, log);
const waiting: ((outcome: WakeOutcome) => void)[] = [];

process.on('message', (message: Order) => {
  if (message.order === 'answer') waiting.shift()?.(message.outcome);
  else void (message.order === 'consume' ? consume() : call(message));
});
tell({ word: 'open' });

async function consume(): Promise<void> {
  await queues.wake.consume(
    async (job) => {
      tell({ word: 'got', job });
      return await new Promise<WakeOutcome>((resolve) => waiting.push(resolve));
    },
    { concurrency: 4 },
  );
  tell({ word: 'consuming' });
}

async function call({ call, method, args }: Extract<Order, { order: 'call' }>): Promise<void> {
  try {
    const work = queues.tasks[method] as (...args: unknown[]) => Promise<unknown>;
    tell({ word: 'answered', call, value: await work.apply(queues.tasks, args) });
  } catch (error) {
    tell({ word: 'answered', call, error: String(error) });
  }
}
