import { AppError, describeError } from '../model/errors.ts';
import { MINUTE_MS, SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import { scrubText } from '../observability/redaction.ts';
import type { WakeJob } from '../ports/queue.ts';
import { giveUpLaunch, giveUpMachine } from './give-up.ts';
import { stepLaunch } from './launch.ts';
import { stepMachine } from './machine.ts';
import { again, DONE, type StepOutcome, type StepPorts } from './ports.ts';

/** Failures in a row after which a step counts as one that never works: about four minutes of growing pauses. */
export const STEP_TRIES_MAX = 8;
const PAUSE_FIRST_MS = 2 * SECOND_MS;
const PAUSE_MAX_MS = 2 * MINUTE_MS;
/** Enough for a sentence and its cause. */
const MESSAGE_CHARS_MAX = 300;

/** Why a visit to a row came to nothing. */
export interface StepFailure {
  /** Code of an `AppError`; `INTERNAL` for a bug. */
  readonly code: string;
  /** One line without secrets. */
  readonly message: string;
  /**
   * True when it would fail again and again: a bug, or an error that no waiting mends. An outage is none of these: while
   * EC2 or the database is away nothing is given up because of it, and the deadline of the state is what bounds the wait.
   */
  readonly isLasting: boolean;
}

/**
 * One visit to a row: its step, its next time, and the row's memory of what went wrong. A step that throws costs its own
 * row a growing pause and, when it never works, its end; no other row notices.
 */
export async function runStep(ports: StepPorts, job: WakeJob): Promise<StepOutcome> {
  try {
    const outcome = await withinLimit(ports, job);
    // The row keeps its own time beside the queue's: whichever rings first, the other finds nothing to do.
    if (outcome.kind === 'again') await wakeRow(ports, job, outcome);
    return outcome;
  } catch (error) {
    return await failStep(ports, job, error);
  }
}

/** Every wait inside a step has its own number; this one is for the wait that somebody forgets. */
async function withinLimit(ports: StepPorts, job: WakeJob): Promise<StepOutcome> {
  const limitMs = ports.timings.stepMs ?? waitMs('step.run');
  const over = new AbortController();
  const late = ports.clock.sleep(limitMs, over.signal).then((): never => {
    throw new AppError('TIMEOUT', `the step did not end within ${limitMs} ms`, {
      remedy: 'report this: every wait of a step has a shorter limit of its own',
      details: { kind: job.kind, id: job.id },
    });
  });
  // Whichever loses the race may still reject, and nobody would hear it.
  late.catch(() => undefined);
  try {
    return await Promise.race([step(ports, job), late]);
  } finally {
    over.abort();
  }
}

async function step(ports: StepPorts, job: WakeJob): Promise<StepOutcome> {
  return job.kind === 'launch' ? await stepLaunch(ports, job.id) : await stepMachine(ports, job.id);
}

type Again = Extract<StepOutcome, { kind: 'again' }>;

async function wakeRow(ports: StepPorts, job: WakeJob, { afterMs, waitsFor }: Again): Promise<void> {
  if (job.kind === 'launch') await ports.launches.wakeAfter(job.id, afterMs);
  else await ports.machines.wakeAfter(job.id, afterMs, waitsFor);
}

async function failStep(ports: StepPorts, job: WakeJob, error: unknown): Promise<StepOutcome> {
  const failure = readFailure(error);
  ports.meter.stepFailed({ kind: job.kind, code: failure.code });
  const share = ports.ids.random();
  const pauseMs = (failures: number): number => failurePauseMs(failures, share);
  const record = { error: `${failure.code}: ${failure.message}`, pauseMs };
  const failures =
    job.kind === 'launch'
      ? await ports.launches.recordFailure(job.id, record)
      : await ports.machines.recordFailure(job.id, record);
  if (failures === null) return DONE;
  logFailure(ports, job, { failure, failures, error });
  if (failure.isLasting && failures >= STEP_TRIES_MAX) {
    const why = { code: failure.code, error: failure.message, failures };
    const moved =
      job.kind === 'launch' ? await giveUpLaunch(ports, job.id, why) : await giveUpMachine(ports, job.id, why);
    if (moved) return again(0);
  }
  return again(pauseMs(failures));
}

/** 2 s, 4 s, 8 s and so on up to two minutes; 0.75 to 1.25 of it, so that rows that failed together do not return together. */
export function failurePauseMs(failures: number, random: number): number {
  const pauseMs = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** Math.min(failures - 1, 20));
  return Math.round(pauseMs * (0.75 + random / 2));
}

/** Exported for its own table test: this tells an outage from what never works. */
export function readFailure(error: unknown): StepFailure {
  const message = scrubText(describeError(error)).replaceAll(/\s+/g, ' ').slice(0, MESSAGE_CHARS_MAX);
  if (error instanceof AppError) return { code: error.code, message, isLasting: !error.retryable };
  return { code: 'INTERNAL', message, isLasting: true };
}

function logFailure(
  ports: StepPorts,
  job: WakeJob,
  { failure, failures, error }: { readonly failure: StepFailure; readonly failures: number; readonly error: unknown },
): void {
  const facts = { kind: job.kind, id: job.id, code: failure.code, error: failure.message, failures };
  if (!(error instanceof Error) || error instanceof AppError) ports.log.warn(facts, 'a step failed; it is tried again');
  // The place of a bug is worth its lines once, not with every repetition.
  else
    ports.log.error(failures === 1 ? { ...facts, stack: error.stack } : facts, 'a step met a bug; it is tried again');
}
