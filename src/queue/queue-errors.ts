import { ErrorCode } from 'bullmq';
import { AppError, describeError } from '../model/errors.ts';
import type { Log } from '../ports/log.ts';

/**
 * BullMQ's answers to "this is not your job any more": gone (an emptied store), not active, no lock, another's lock.
 * An expected outcome, so callers turn it into a value.
 */
const LOST: ReadonlySet<unknown> = new Set([
  ErrorCode.JobNotExist,
  ErrorCode.JobLockNotExist,
  ErrorCode.JobNotInState,
  ErrorCode.JobLockMismatch,
]);

/** True when BullMQ refused because the job is no longer in the hands of whoever asks. */
export function isLost(error: unknown): boolean {
  return LOST.has(codeOf(error));
}

const UNREACHABLE_ERRNO: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
/**
 * 08: connection; 53: out of disk, memory or connections; 57P: shutting down or starting; 57014, 55P03: the time-outs of
 * the statement and of its lock; 25P03: a transaction that stood still.
 */
const UNREACHABLE_SQLSTATE = /^(?:08|53|57P|57014$|55P03$|25P03$)/;

/**
 * Runs one operation on the store; a store that cannot be reached becomes AppError QUEUE_UNREACHABLE, by errno and SQLSTATE.
 * ioredis and pg tell lost connections and time-outs with plain errors without a code, and BullMQ's own refusals have one:
 * so a plain error counts as unreachable too.
 */
export async function reaching<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AppError || !isUnreachable(error)) throw error;
    throw unreachable('The queue does not answer', error);
  }
}

function isUnreachable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = codeOf(error);
  if (code === undefined) return error.constructor.name === 'Error' || error.name === 'MaxRetriesPerRequestError';
  return UNREACHABLE_ERRNO.has(code) || (typeof code === 'string' && UNREACHABLE_SQLSTATE.test(code));
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** An AppError QUEUE_UNREACHABLE. */
export function unreachable(message: string, cause: unknown): AppError {
  return new AppError('QUEUE_UNREACHABLE', message, {
    remedy:
      'Check that the server of QUEUE_URL (or of the database, when QUEUE_URL is not set) runs; a service that was up goes on by itself.',
    cause,
  });
}

/** A store that is down makes its clients report the same error many times a second; one line in this time is enough. */
const SAME_ERROR_MS = 10_000;
/** Different messages remembered; beyond it the memory starts anew. */
const MESSAGES_MAX = 64;

/** A listener for `error` events that logs each message at most once in ten seconds, with the number of those left out. */
export function errorListener(log: Log, source: string): (error: unknown) => void {
  const seen = new Map<string, { loggedAtMs: number; leftOut: number }>();
  return (error) => {
    const message = describeError(error);
    const entry = seen.get(message);
    const nowMs = performance.now();
    if (entry !== undefined && nowMs - entry.loggedAtMs < SAME_ERROR_MS) {
      entry.leftOut += 1;
      return;
    }
    if (seen.size >= MESSAGES_MAX) seen.clear();
    seen.set(message, { loggedAtMs: nowMs, leftOut: 0 });
    log.warn({ source, error: message, leftOut: entry?.leftOut ?? 0 }, 'the queue reports an error');
  };
}
