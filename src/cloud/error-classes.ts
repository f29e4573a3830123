/**
 * What each error of EC2 and EC2 Instance Connect means for us, by code and HTTP status, never by message: AWS changes texts without notice.
 * Codes: the EC2 API reference, "Error codes for the Amazon EC2 API", and what other autoscalers met in production.
 */

/**
 * - `capacity`: this offering cannot be had now; another one may.
 * - `quota`: the account may not have more of this kind; others of the kind will fail too.
 * - `throttle`: EC2 did nothing; the same request later.
 * - `auth`: our credentials or rights; nothing will work until somebody changes them.
 * - `config`: the request can never work as it is.
 * - `ended`: the token's instances are gone; the attempt is over.
 * - `mismatch`: the token was used with another body.
 * - `unknown`: EC2 may or may not have acted.
 */
export type Ec2ErrorClass = 'capacity' | 'quota' | 'throttle' | 'auth' | 'config' | 'ended' | 'mismatch' | 'unknown';

export interface ErrorFacts {
  /** EC2's code, or the name of a client-side error such as `TimeoutError`; empty when there is none. */
  readonly code: string;
  /** Null when no answer arrived. */
  readonly httpStatus: number | null;
}

const CODES: Readonly<Record<Ec2ErrorClass, readonly string[]>> = {
  capacity: [
    'InsufficientAddressCapacity',
    'InsufficientCapacity',
    'InsufficientCapacityOnHost',
    'InsufficientFreeAddressesInSubnet',
    'InsufficientHostCapacity',
    'InsufficientInstanceCapacity',
    'InsufficientReservedInstanceCapacity',
    'InsufficientVolumeCapacity',
    'ReservationCapacityExceeded',
    'SpotMaxPriceTooLow',
    'UnfulfillableCapacity',
    // The type is not offered in this zone.
    'Unsupported',
  ],
  quota: [
    'InstanceLimitExceeded',
    'MaxFleetCountExceeded',
    'MaxIOPSLimitExceeded',
    'MaxSpotFleetRequestCountExceeded',
    'MaxSpotInstanceCountExceeded',
    'NetworkInterfaceLimitExceeded',
    'PendingVerification',
    'VcpuLimitExceeded',
    'VolumeLimitExceeded',
  ],
  throttle: [
    'EC2ThrottledException',
    'RequestLimitExceeded',
    'RequestThrottled',
    'RequestThrottledException',
    'ResourceLimitExceeded',
    'SlowDown',
    'Throttling',
    'ThrottlingException',
    'TooManyRequestsException',
  ],
  auth: [
    'AuthException',
    'Blocked',
    // Thrown by the SDK before anything is sent: no credentials, or their source does not answer.
    'CredentialsProviderError',
    'ExpiredToken',
    'ExpiredTokenException',
    'IncompleteSignature',
    'InvalidAccessKeyId',
    'InvalidClientTokenId',
    'InvalidSignatureException',
    'MissingAuthenticationToken',
    'NotAuthorized',
    'OptInRequired',
    'RequestExpired',
    'RequestTimeTooSkewed',
    'SignatureDoesNotMatch',
    'TokenProviderError',
    'TokenRefreshRequired',
    'UnauthorizedOperation',
    'UnrecognizedClientException',
  ],
  config: [
    'InvalidArgsException',
    'InvalidUserData.Malformed',
    'MissingParameter',
    'UnknownParameter',
    'UnsupportedOperation',
  ],
  ended: ['IdempotentInstanceTerminated'],
  mismatch: ['IdempotentParameterMismatch'],
  unknown: [
    'AbortError',
    'EC2InstanceUnavailableException',
    'InternalError',
    'InternalFailure',
    'NetworkingError',
    'RequestTimeout',
    'RequestTimeoutException',
    'ServiceException',
    'ServiceUnavailable',
    'ServiceUnavailableException',
    'TimeoutError',
    'Unavailable',
  ],
};

/** Families of codes, asked only for refusals (4xx) that the table above does not list. */
const PREFIXES: readonly (readonly [string, Ec2ErrorClass])[] = [
  ['AccessDenied', 'auth'],
  ['AuthFailure', 'auth'],
  ['Invalid', 'config'],
];

const CLASS_BY_CODE: ReadonlyMap<string, Ec2ErrorClass> = new Map(
  Object.entries(CODES).flatMap(([errorClass, codes]) => codes.map((code) => [code, errorClass as Ec2ErrorClass])),
);

/** The class of an EC2 error. Total: what is not listed is judged by its HTTP status, and doubt is `unknown`. */
export function classifyEc2Error(facts: ErrorFacts): Ec2ErrorClass {
  const exact = CLASS_BY_CODE.get(facts.code);
  // A listed code decides before the status: RequestLimitExceeded comes as 503, capacity errors as 500.
  if (exact !== undefined) return exact;
  const { httpStatus } = facts;
  if (httpStatus === 429) return 'throttle';
  // No answer, a proxy's time-out, or a failure inside EC2: it may have acted before it failed.
  if (httpStatus === null || httpStatus === 408 || httpStatus < 400 || httpStatus >= 500) return 'unknown';
  const family = PREFIXES.find(([prefix]) => facts.code.startsWith(prefix));
  if (family !== undefined) return family[1];
  // EC2 refuses with 4xx before it acts; but a 4xx without EC2's code came from something in between.
  return isEc2Code(facts.code) ? 'config' : 'unknown';
}

/** The SDK says `Unknown` or `NotFound` where the body carried no code of EC2. */
function isEc2Code(code: string): boolean {
  return /^[A-Z][A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*$/.test(code) && !['Unknown', 'NotFound', 'Error'].includes(code);
}

/** Every code of the exact table with its class, for tests and documentation. */
export function listClassifiedCodes(): readonly (readonly [string, Ec2ErrorClass])[] {
  return [...CLASS_BY_CODE];
}
