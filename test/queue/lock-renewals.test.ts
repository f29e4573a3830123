/** Goal: a lock that is gone under a handler is told, one that was given back is no news. Method: the events that BullMQ's worker emits. */
import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { listenToWorker } from '../../src/queue/lock-renewals.ts';
import { recordingLog } from '../support/log.ts';

function listening(working: readonly string[]) {
  const worker = new EventEmitter();
  const log = recordingLog();
  const errors: unknown[] = [];
  listenToWorker(worker, {
    isWorking: (jobId) => working.includes(jobId),
    log,
    onError: (error) => errors.push(error),
  });
  /** As BullMQ does it. */
  const failToRenew = (...jobIds: string[]): Error[] => {
    const told = jobIds.map((jobId) => new Error(`could not renew lock for job ${jobId}`));
    worker.emit('lockRenewalFailed', jobIds);
    for (const error of told) worker.emit('error', error);
    return told;
  };
  return { worker, log, errors, failToRenew };
}

test('renewals that come too late are said for debugging only, once each; those of jobs in work are errors', () => {
  const { log, errors, failToRenew } = listening(['machine-2']);
  const [, ofWorking] = failToRenew('machine-1', 'machine-2', 'machine-3');
  expect(errors).toEqual([ofWorking]);
  const message = 'the lock of a job was not renewed: its handler was through meanwhile';
  expect(log.lines).toEqual(
    ['machine-1', 'machine-3'].map((jobId) => ({ level: 'debug', details: { jobId }, message })),
  );
});

test('every other error stays an error, also after renewals that failed', () => {
  const { worker, log, errors, failToRenew } = listening([]);
  const away = new Error('connect ECONNREFUSED');
  worker.emit('error', away);
  failToRenew('machine-1');
  worker.emit('error', away);
  expect(errors).toEqual([away, away]);
  expect(log.lines).toHaveLength(1);
});
