import { AppError } from '../model/errors.ts';
import type { ErrorCode } from '../model/errors.ts';
import type { PowerOutcome, RunOutcome } from '../ports/cloud.ts';
import { classifyEc2Error } from './error-classes.ts';
import type { Ec2ErrorClass, ErrorFacts } from './error-classes.ts';

/** EC2's refusals carry an encoded authorization message of several KiB; rows and logs need its beginning. */
const MESSAGE_CHARS_MAX = 500;

/** A failed SDK call, reduced to what we judge it by. */
export interface AwsFailure extends ErrorFacts {
  readonly message: string;
  readonly errorClass: Ec2ErrorClass;
}

/** Reads an error thrown by the SDK (or by our deadline). Anything unforeseen becomes `unknown`, never a refusal. */
export function readAwsFailure(error: unknown): AwsFailure {
  const name = error instanceof Error ? error.name : '';
  const text = error instanceof Error ? error.message : String(error);
  const httpStatus = readHttpStatus(error);
  return {
    code: name === '' || name === 'Error' ? systemCode(error) : name,
    httpStatus,
    message: (text === '' ? systemCode(error) : text).slice(0, MESSAGE_CHARS_MAX),
    errorClass: classifyEc2Error({ code: name, httpStatus }),
  };
}

function readHttpStatus(error: unknown): number | null {
  const metadata = readField(error, '$metadata');
  const status = readField(metadata, 'httpStatusCode');
  return typeof status === 'number' ? status : null;
}

/** `ECONNRESET` and the like, or a word for nothing at all, so that a row always names something. */
function systemCode(error: unknown): string {
  const code = readField(error, 'code');
  return typeof code === 'string' && code !== '' ? code : 'NoAnswer';
}

function readField(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

/** What a failed RunInstances means for the launch. */
export function toRunOutcome(error: unknown): Exclude<RunOutcome, { readonly kind: 'launched' }> {
  const { errorClass, code, message } = readAwsFailure(error);
  switch (errorClass) {
    case 'throttle':
      return { kind: 'throttled', code, message };
    case 'unknown':
      return { kind: 'unknown', code, message };
    case 'capacity':
    case 'quota':
    case 'auth':
    case 'config':
    case 'ended':
    case 'mismatch':
      return { kind: 'refused', errorClass, code, message };
  }
}

/** What a failed StopInstances or StartInstances means for the machine. */
export function toPowerOutcome(error: unknown): PowerOutcome {
  const { code } = readAwsFailure(error);
  if (code === 'IncorrectInstanceState') return { kind: 'busy' };
  if (code === 'InvalidInstanceID.NotFound') return { kind: 'not-found' };
  return toRunOutcome(error);
}

interface Remedy {
  readonly code: ErrorCode;
  readonly remedy: string;
}

const REMEDIES: Readonly<Record<Ec2ErrorClass, Remedy>> = {
  throttle: {
    code: 'AWS_THROTTLED',
    remedy: 'Nothing to do: Spillway slows down and repeats. If it lasts, see what else in the account calls EC2.',
  },
  unknown: {
    code: 'AWS_UNREACHABLE',
    remedy: 'Check the route to the EC2 endpoint, AWS_ENDPOINT_URL_EC2 and proxies; Spillway holds and tries again.',
  },
  auth: {
    code: 'AWS_AUTH',
    remedy:
      'Check with `aws sts get-caller-identity`, compare the rights with infra/iam-policy.json, and check the clock of this host.',
  },
  config: { code: 'AWS_CONFIG', remedy: 'Correct the region, subnets or image in the policy that names them.' },
  // The classes below belong to RunInstances; another call that meets one asked for something EC2 does not do.
  capacity: { code: 'AWS_CONFIG', remedy: 'Correct the region, subnets or instance types in the policy.' },
  quota: { code: 'AWS_CONFIG', remedy: 'Look at the limits of the account under Service Quotas.' },
  ended: { code: 'AWS_CONFIG', remedy: 'Report this: EC2 answered a call without a token as if it had one.' },
  mismatch: { code: 'AWS_CONFIG', remedy: 'Report this: EC2 answered a call without a token as if it had one.' },
};

/** The error of a call that has no outcome value: `doing` says what was tried, e.g. `list instances in eu-central-1`. */
export function toCloudError(error: unknown, doing: string): AppError {
  if (error instanceof AppError) return error;
  const { errorClass, code, httpStatus, message } = readAwsFailure(error);
  const remedy = REMEDIES[errorClass];
  return new AppError(remedy.code, `EC2 did not ${doing}: ${code}: ${message}`, {
    remedy: remedy.remedy,
    cause: error,
    details: { awsCode: code, httpStatus },
  });
}
