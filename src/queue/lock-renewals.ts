import type { Log } from '../ports/log.ts';

/** What BullMQ's worker tells of locks. */
interface RenewalEvents {
  on(event: 'lockRenewalFailed', listener: (jobIds: string[]) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

interface RenewalParts {
  /** True while a handler of this process works on the job. */
  readonly isWorking: (jobId: string) => boolean;
  readonly log: Log;
  /** Everything that is an error. */
  readonly onError: (error: unknown) => void;
}

/**
 * Listens to a worker's errors, and tells renewals of locks that failed for a reason from those that came too late. BullMQ renews the
 * locks of many jobs in one go; a job whose handler is through before the store has answered has given its lock back, rightly, and
 * after a pause of the process that is many at once. A lock that is gone under a handler that works is told aloud: somebody else may have
 * the job.
 */
export function listenToWorker(worker: RenewalEvents, { isWorking, log, onError }: RenewalParts): void {
  // Each is told twice: all of them in one event, then an error each, in the same order and with nothing between.
  let failed: string[] = [];
  worker.on('lockRenewalFailed', (jobIds) => {
    failed = [...jobIds];
  });
  worker.on('error', (error) => {
    const jobId = failed.shift();
    if (jobId === undefined || isWorking(jobId)) onError(error);
    else log.debug({ jobId }, 'the lock of a job was not renewed: its handler was through meanwhile');
  });
}
