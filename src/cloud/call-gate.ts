import { bucketOf } from '../model/api-rates.ts';
import { AppError } from '../model/errors.ts';
import type { ApiBudget, TakeOutcome } from '../ports/api-budget.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { CloudMeter } from '../ports/meter.ts';
import { readAwsFailure } from './aws-errors.ts';

/** A call that changes nothing may be tried so often; it is the only retry there is, the SDK's own is switched off. */
const READ_TRIES_MAX = 3;
/** Before the second try at most this long, before the third twice that. */
const PAUSE_MS = 200;

export interface ApiCall {
  readonly region: string;
  /** EC2's own name, e.g. `DescribeInstances`. */
  readonly action: string;
  /** Instances that the call names or asks for. */
  readonly instances: number;
}

export interface ReadCall extends Pick<ApiCall, 'region' | 'action'> {
  /** For the wait for a token, all tries and the pauses between them. */
  readonly deadlineMs: number;
}

/** What every call to EC2 passes, page by page. */
export interface CallGate {
  /** A call that changes something goes now or not at all: its step comes back when there is a token. @throws AppError */
  admit(call: ApiCall): Promise<TakeOutcome>;
  /** EC2 throttled a call that `admit` let through; returns how long to stay away (ms), as far as that is known. */
  noteThrottle(call: Pick<ApiCall, 'region' | 'action'>): Promise<number | null>;
  /**
   * Runs a call that changes nothing, or nothing more when it is repeated: waits for a token before each try, and tries again
   * what EC2 throttled or did not answer. Throws what `send` threw last. @throws AppError AWS_THROTTLED when no token comes in time
   */
  read<T>(call: ReadCall, send: (leftMs: number) => Promise<T>): Promise<T>;
}

export interface CallGateOptions {
  readonly clock: Clock;
  /** Left out: alone in the account, nothing is counted. */
  readonly budget?: ApiBudget;
  /** In [0, 1), for pauses. Left out: whole pauses. */
  readonly random?: () => number;
  readonly meter?: CloudMeter;
  readonly log?: Pick<Log, 'warn'>;
}

const UNLIMITED: ApiBudget = { take: async () => ({ kind: 'taken' }), reportThrottle: async () => 0 };

/** The one place where calls are counted, put off and tried again. */
export function openCallGate(options: CallGateOptions): CallGate {
  const gate: Gate = { ...options, budget: options.budget ?? UNLIMITED, random: options.random ?? (() => 1) };
  return {
    admit: async (call) => await admit(gate, call),
    noteThrottle: async (call) => await noteThrottle(gate, call),
    read: async (call, send) => await read(gate, call, send),
  };
}

type Gate = CallGateOptions & Required<Pick<CallGateOptions, 'budget' | 'random'>>;

async function admit({ budget, meter }: Gate, { region, action, instances }: ApiCall): Promise<TakeOutcome> {
  const outcome = await budget.take(region, bucketOf(action), instances);
  if (outcome.kind === 'taken') meter?.ec2Called(action);
  else meter?.ec2PutOff(action);
  return outcome;
}

async function noteThrottle(
  { budget, meter, log }: Gate,
  { region, action }: Pick<ApiCall, 'region' | 'action'>,
): Promise<number | null> {
  meter?.ec2Throttled(action);
  try {
    const blockedMs = await budget.reportThrottle(region, bucketOf(action));
    log?.warn({ region, action, blockedMs }, 'EC2 asks for fewer calls; all replicas slow down');
    return blockedMs;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    // What became of the call matters more than that the others hear of it: they will meet the throttle themselves.
    log?.warn({ region, action, code: error.code, error: error.message }, 'a throttle of EC2 could not be told');
    return null;
  }
}

async function read<T>(gate: Gate, call: ReadCall, send: (leftMs: number) => Promise<T>): Promise<T> {
  const { clock, random } = gate;
  const endMs = clock.monotonicMs() + call.deadlineMs;
  for (let tries = 1; ; tries += 1) {
    await waitForToken(gate, call, endMs);
    try {
      return await send(endMs - clock.monotonicMs());
    } catch (error) {
      const { errorClass } = readAwsFailure(error);
      if (errorClass === 'throttle') await noteThrottle(gate, call);
      else if (errorClass !== 'unknown' || error instanceof AppError) throw error;
      // Full jitter: of many that failed together, no two come back together.
      const pauseMs = random() * PAUSE_MS * 2 ** (tries - 1);
      if (tries >= READ_TRIES_MAX || clock.monotonicMs() + pauseMs >= endMs) throw error;
      await clock.sleep(pauseMs);
    }
  }
}

async function waitForToken(gate: Gate, { region, action }: ReadCall, endMs: number): Promise<void> {
  for (;;) {
    const outcome = await admit(gate, { region, action, instances: 0 });
    if (outcome.kind === 'taken') return;
    const leftMs = endMs - gate.clock.monotonicMs();
    if (outcome.waitMs > leftMs) {
      throw new AppError('AWS_THROTTLED', `There is no token for ${action} in ${region} before its deadline.`, {
        remedy: 'Nothing to do: it is asked again later. If it lasts, see what else in the account calls EC2.',
        details: { waitMs: outcome.waitMs },
      });
    }
    await gate.clock.sleep(outcome.waitMs);
  }
}
