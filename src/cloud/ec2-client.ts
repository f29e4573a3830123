import { EC2Client } from '@aws-sdk/client-ec2';
import type { RunInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { waitMs } from '../model/waits.ts';
import { lateBy, type ClockTimes } from '../model/clock-times.ts';
import type { Clock } from '../ports/clock.ts';
import { SIGN_DEADLINE_PASSED } from '../ports/cloud.ts';

/** How long we wait for EC2. The SDK's own defaults are: for ever. */
export interface Ec2Timeouts {
  /** TCP and TLS, per try. */
  readonly connectMs: number;
  /** From the request to the first byte of the answer, per try. */
  readonly requestMs: number;
  /** One call with its wait for a token, its tries, credentials and reading of the answer. */
  readonly callMs: number;
  /** All pages of one listing. */
  readonly listMs: number;
}

/** Three tries of a describe with the SDK's back-off fit into a call when the first two fail fast; a page comes in a second. */
export const DEFAULT_EC2_TIMEOUTS: Ec2Timeouts = Object.freeze({
  connectMs: waitMs('aws.connect'),
  requestMs: waitMs('aws.request'),
  callMs: waitMs('aws.call'),
  listMs: waitMs('aws.listing'),
});

/**
 * The SDK sends each call once. Retries are ours alone, because each of them takes a token: the gate repeats reads, steps
 * repeat launches and terminations.
 */
const TRIES_MAX = 1;

/** Thrown instead of signing a request whose time has passed. Nothing was sent. */
export class SignDeadlineError extends Error {
  constructor(lateMs: number) {
    super(`The request was due to be signed ${lateMs} ms ago; it was not sent.`);
    this.name = SIGN_DEADLINE_PASSED;
  }
}

/**
 * A client with nothing but the SDK's standard settings: endpoint, profile and credentials come from its own chain, so
 * that `AWS_ENDPOINT_URL_EC2` and everything an AWS user already knows work unchanged.
 */
export function openRegion(region: string, timeouts: Ec2Timeouts): EC2Client {
  return new EC2Client(clientSettings(region, timeouts));
}

/** What every client of ours is opened with. */
export function clientSettings(region: string, timeouts: Ec2Timeouts) {
  return {
    region,
    maxAttempts: TRIES_MAX,
    // Named, because a profile may ask for `adaptive`: that would be a second back-off, which no replica shares.
    retryMode: 'standard',
    requestHandler: {
      connectionTimeout: timeouts.connectMs,
      requestTimeout: timeouts.requestMs,
      // Without this the SDK only logs a warning and goes on waiting.
      throwOnRequestTimeout: true,
    },
  } as const;
}

/**
 * Makes `command` refuse to be signed after `signBefore`, by whichever clock says so first. A process may be stopped for minutes between the decision
 * and the call (a suspended VM, SIGSTOP); by then another leader may have decided otherwise. This is the last step that
 * runs on our clock: after it SigV4's date makes AWS itself refuse an old request.
 */
export function fenceSigning(
  command: RunInstancesCommand | TerminateInstancesCommand,
  clock: Clock,
  signBefore: ClockTimes,
): void {
  const fence =
    <Args, Answer>(next: (args: Args) => Promise<Answer>) =>
    async (args: Args): Promise<Answer> => {
      const lateMs = lateBy(clock, signBefore);
      if (lateMs > 0) throw new SignDeadlineError(lateMs);
      return next(args);
    };
  // Credentials are resolved before this step, however long that takes; nothing but the hash comes after it.
  const place = { relation: 'before', toMiddleware: 'httpSigningMiddleware', name: 'spillwaySignFence' } as const;
  command.middlewareStack.addRelativeTo(fence, place);
}

/**
 * Runs `call` with a signal that aborts after `deadlineMs`, and stops waiting then even where the SDK does not listen to
 * the signal (credential sources). Rejects with a `TimeoutError`.
 */
export async function withDeadline<T>(deadlineMs: number, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = new Error(`no answer within ${deadlineMs} ms`);
      error.name = 'TimeoutError';
      controller.abort(error);
      reject(error);
    }, deadlineMs);
  });
  try {
    return await Promise.race([call(controller.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}
