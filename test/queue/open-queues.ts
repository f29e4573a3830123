import type { Log } from '../../src/ports/log.ts';
import { createQueues, type Queues } from '../../src/queue/queues.ts';
import { randomIds, realClock } from '../support/clock.ts';

/** A consumer that died is noticed after one to two times this; 30 s would make a test of a crash take a minute. */
const WAKE_LOCK_MS = 500;

/** Where the queues of one test are, as another process can be told. */
export interface StoreAddress {
  readonly queueUrl: string | null;
  readonly databaseUrl: string;
}

/** Apart from the fixtures, because the processes that tests start cannot load vitest. */
export async function openQueues(address: StoreAddress, log: Log): Promise<Queues> {
  return createQueues({ ...address, clock: realClock, ids: randomIds, log, wakeLockMs: WAKE_LOCK_MS });
}
