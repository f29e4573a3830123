import { Client } from 'pg';
import { describeError } from '../model/errors.ts';
import { SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import { clientConfig } from './pool.ts';

/** The channel of migration 0012. */
const CHANNEL = 'spillway_work';
const RETRY_MS = { min: SECOND_MS, max: 30 * SECOND_MS } as const;

export interface WorkBellOptions {
  readonly url: string;
  /** Pending work was committed, by whichever process; also called whenever listening begins, for what was missed before. */
  readonly onWork: () => void;
  readonly clock: Pick<Clock, 'sleep'>;
  readonly log: Pick<Log, 'warn' | 'info'>;
  /** Default: `postgres.listen-probe` of the list of waits: a listener hears nothing of a connection that is gone. */
  readonly probeMs?: number;
  /** Default: `postgres.answer`. */
  readonly answerMs?: number;
}

export interface WorkBell {
  /** Hears nothing more; resolves when the connection is closed. */
  close(): Promise<void>;
}

/**
 * Listens for pending work on a connection of its own, and connects again for as long as it is not closed. Nothing depends on it:
 * behind a pooler that has no LISTEN, or while the server is away, work is found at the next turn of each loop.
 */
export function listenForWork(options: WorkBellOptions): WorkBell {
  const stop = new AbortController();
  const listening = listenUntil(options, stop.signal);
  return {
    async close() {
      stop.abort();
      await listening;
    },
  };
}

async function listenUntil(options: WorkBellOptions, stop: AbortSignal): Promise<void> {
  const { url, onWork, clock, log } = options;
  const { probeMs = waitMs('postgres.listen-probe'), answerMs = waitMs('postgres.answer') } = options;
  let retryMs: number = RETRY_MS.min;
  while (!stop.aborted) {
    const client = new Client(clientConfig(url, { applicationName: 'spillway-listen', answerMs }));
    const lost = new AbortController();
    client.on('error', () => lost.abort());
    client.on('end', () => lost.abort());
    client.on('notification', onWork);
    try {
      await client.connect();
      await client.query(`listen ${CHANNEL}`);
      retryMs = RETRY_MS.min;
      onWork();
      while (await pause(clock, probeMs, AbortSignal.any([stop, lost.signal]))) await client.query('select 1');
      if (!stop.aborted) log.warn({}, 'the connection that hears of new work was lost; it is opened again');
    } catch (error) {
      log.warn(
        { error: describeError(error) },
        'cannot listen for new work; it is found at the next turn of each loop',
      );
    }
    // Its own time limit is in the configuration; a connection that is gone already has nothing to say.
    await client.end().catch(() => undefined);
    if (await pause(clock, retryMs, stop)) retryMs = Math.min(RETRY_MS.max, retryMs * 2);
  }
}

/** False when it was ended before its time. */
async function pause(clock: Pick<Clock, 'sleep'>, ms: number, signal: AbortSignal): Promise<boolean> {
  return await clock.sleep(ms, signal).then(
    () => true,
    (error: unknown) => {
      if (signal.aborted) return false;
      throw error;
    },
  );
}
