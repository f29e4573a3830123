import { describe, expect, test } from 'vitest';
import { readAwsFailure, toCloudError, toRunOutcome } from '../../src/cloud/aws-errors.ts';
import { classifyEc2Error, listClassifiedCodes } from '../../src/cloud/error-classes.ts';
import type { Ec2ErrorClass } from '../../src/cloud/error-classes.ts';

/** Written down apart from the table, so that an edit there has to be meant. */
const EXPECTED: Readonly<Record<Ec2ErrorClass, string>> = {
  capacity: `InsufficientAddressCapacity InsufficientCapacity InsufficientCapacityOnHost InsufficientFreeAddressesInSubnet
    InsufficientHostCapacity InsufficientInstanceCapacity InsufficientReservedInstanceCapacity InsufficientVolumeCapacity
    ReservationCapacityExceeded SpotMaxPriceTooLow UnfulfillableCapacity Unsupported`,
  quota: `InstanceLimitExceeded MaxFleetCountExceeded MaxIOPSLimitExceeded MaxSpotFleetRequestCountExceeded
    MaxSpotInstanceCountExceeded NetworkInterfaceLimitExceeded PendingVerification VcpuLimitExceeded VolumeLimitExceeded`,
  throttle: `EC2ThrottledException RequestLimitExceeded RequestThrottled RequestThrottledException ResourceLimitExceeded
    SlowDown Throttling ThrottlingException TooManyRequestsException`,
  auth: `AuthException Blocked CredentialsProviderError ExpiredToken ExpiredTokenException IncompleteSignature InvalidAccessKeyId
    InvalidClientTokenId InvalidSignatureException MissingAuthenticationToken NotAuthorized OptInRequired RequestExpired
    RequestTimeTooSkewed SignatureDoesNotMatch TokenProviderError TokenRefreshRequired UnauthorizedOperation
    UnrecognizedClientException`,
  config: 'InvalidArgsException InvalidUserData.Malformed MissingParameter UnknownParameter UnsupportedOperation',
  ended: 'IdempotentInstanceTerminated',
  mismatch: 'IdempotentParameterMismatch',
  unknown: `AbortError EC2InstanceUnavailableException InternalError InternalFailure NetworkingError RequestTimeout
    RequestTimeoutException ServiceException ServiceUnavailable ServiceUnavailableException TimeoutError Unavailable`,
};
const ROWS = Object.entries(EXPECTED).flatMap(([errorClass, codes]) =>
  codes.split(/\s+/).map((code) => [code, errorClass as Ec2ErrorClass] as const),
);

describe('classifyEc2Error', () => {
  test('the table holds exactly the codes written down here', () => {
    const byCode = (a: readonly [string, string], b: readonly [string, string]): number => a[0].localeCompare(b[0]);
    expect([...listClassifiedCodes()].sort(byCode)).toEqual([...ROWS].sort(byCode));
  });

  test.each(ROWS)('%s is %s, whatever status it comes with', (code, errorClass) => {
    for (const httpStatus of [null, 200, 400, 403, 500, 503]) {
      expect(classifyEc2Error({ code, httpStatus })).toBe(errorClass);
    }
  });

  test.each([
    ['AuthFailure', 401, 'auth'],
    ['AuthFailure.ServiceLinkedRoleCreationNotPermitted', 403, 'auth'],
    ['AccessDenied', 403, 'auth'],
    ['AccessDeniedException', 400, 'auth'],
    ['InvalidAMIID.NotFound', 400, 'config'],
    ['InvalidAMIID.Unavailable', 400, 'config'],
    ['InvalidSubnetID.NotFound', 400, 'config'],
    ['InvalidGroup.NotFound', 400, 'config'],
    ['InvalidParameterValue', 400, 'config'],
    ['InvalidParameterCombination', 400, 'config'],
    ['InvalidLaunchTemplateId.NotFound', 400, 'config'],
    ['InvalidInstanceID.NotFound', 400, 'config'],
    ['OperationNotPermitted', 400, 'config'],
    ['SomethingNewOfEc2', 400, 'config'],
  ] as const)('%s with status %d is %s', (code, httpStatus, errorClass) => {
    expect(classifyEc2Error({ code, httpStatus })).toBe(errorClass);
  });

  test.each([
    ['SomethingNewOfEc2', 500],
    ['SomethingNewOfEc2', 503],
    ['SomethingNewOfEc2', null],
    ['InvalidParameterValue', 500],
    ['Unknown', 400],
    ['NotFound', 404],
    ['Unknown', 407],
    ['Unknown', 408],
    ['', 403],
    ['', null],
    ['SyntaxError', 200],
    ['Error', null],
    ['text/html', 400],
  ] as const)('doubt is unknown, never a refusal: %j with status %s', (code, httpStatus) => {
    expect(classifyEc2Error({ code, httpStatus })).toBe('unknown');
  });

  test('a 429 without a code is a throttle', () => {
    expect(classifyEc2Error({ code: 'Unknown', httpStatus: 429 })).toBe('throttle');
  });

  test('no combination of code and status is left without a class', () => {
    for (let httpStatus = 100; httpStatus < 600; httpStatus += 1) {
      for (const code of ['', 'X', 'Unknown', 'InvalidX', 'constructor', '__proto__', 'toString']) {
        expect(Object.keys(EXPECTED)).toContain(classifyEc2Error({ code, httpStatus }));
      }
    }
  });
});

function awsError(name: string, httpStatusCode: number | undefined, message = 'text'): Error {
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode } });
}

describe('outcomes', () => {
  test.each(ROWS)('RunInstances failing with %s says so as a value', (code, errorClass) => {
    const kinds: Partial<Record<Ec2ErrorClass, object>> = {
      throttle: { kind: 'throttled' },
      unknown: { kind: 'unknown' },
    };
    const expected = kinds[errorClass] ?? { kind: 'refused', errorClass };
    expect(toRunOutcome(awsError(code, 400))).toEqual({ ...expected, code, message: 'text' });
  });

  test('the message never decides', () => {
    const outcome = toRunOutcome(awsError('InternalError', 500, 'InsufficientInstanceCapacity: RequestLimitExceeded'));
    expect(outcome.kind).toBe('unknown');
  });

  test.each([new Error('socket hang up'), new TypeError('x'), 'text', undefined, null, { $metadata: 3 }])(
    'whatever is thrown, %s is unknown',
    (thrown) => {
      const outcome = toRunOutcome(thrown);
      expect(outcome.kind).toBe('unknown');
      expect(outcome).toMatchObject({ code: expect.stringMatching(/./), message: expect.stringMatching(/./) });
    },
  );

  test('a bare network error is named by its system code', () => {
    expect(readAwsFailure(Object.assign(new Error(''), { code: 'ECONNRESET' }))).toMatchObject({
      code: 'ECONNRESET',
      message: 'ECONNRESET',
    });
  });

  test('a message of many kilobytes is cut', () => {
    expect(readAwsFailure(awsError('UnauthorizedOperation', 403, 'x'.repeat(9000))).message.length).toBe(500);
  });

  test.each([
    ['RequestLimitExceeded', 503, 'AWS_THROTTLED'],
    ['UnauthorizedOperation', 403, 'AWS_AUTH'],
    ['CredentialsProviderError', undefined, 'AWS_AUTH'],
    ['InvalidSubnetID.NotFound', 400, 'AWS_CONFIG'],
    ['InternalError', 500, 'AWS_UNREACHABLE'],
    ['TimeoutError', undefined, 'AWS_UNREACHABLE'],
  ] as const)('another call failing with %s (%s) throws %s with a remedy', (name, status, code) => {
    const error = toCloudError(awsError(name, status), 'describe a thing');
    expect(error).toMatchObject({ code, remedy: expect.stringMatching(/\w/) });
    expect(error.message).toBe(`EC2 did not describe a thing: ${name}: text`);
  });
});
