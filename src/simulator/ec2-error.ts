/**
 * The error codes the simulated region answers with, and the HTTP status for each of EC2 and EC2 Instance Connect.
 * Capacity errors are server errors (500) at EC2 too, which is why the SDK retries them by itself.
 */
export const EC2_ERROR_STATUS = {
  AuthException: 403,
  AuthFailure: 401,
  DryRunOperation: 412,
  EC2InstanceNotFoundException: 404,
  EC2InstanceStateInvalidException: 400,
  EC2InstanceUnavailableException: 503,
  IdempotentInstanceTerminated: 400,
  IdempotentParameterMismatch: 400,
  InstanceLimitExceeded: 400,
  IncorrectInstanceState: 400,
  InsufficientFreeAddressesInSubnet: 400,
  InsufficientInstanceCapacity: 500,
  InternalError: 500,
  InvalidAction: 400,
  InvalidArgsException: 400,
  'InvalidAMIID.Malformed': 400,
  'InvalidAMIID.NotFound': 400,
  'InvalidGroup.NotFound': 400,
  'InvalidGroupId.Malformed': 400,
  'InvalidInstanceID.Malformed': 400,
  'InvalidInstanceID.NotFound': 400,
  InvalidInstanceType: 400,
  InvalidNextToken: 400,
  InvalidParameterCombination: 400,
  InvalidParameterValue: 400,
  'InvalidSpotInstanceRequestID.NotFound': 400,
  'InvalidSubnetID.NotFound': 400,
  'InvalidUserData.Malformed': 400,
  MaxSpotInstanceCountExceeded: 400,
  MissingParameter: 400,
  RequestExpired: 400,
  RequestLimitExceeded: 503,
  ServiceException: 500,
  ServiceUnavailable: 503,
  SpotMaxPriceTooLow: 400,
  TagLimitExceeded: 400,
  ThrottlingException: 429,
  UnauthorizedOperation: 403,
  UnknownParameter: 400,
  Unsupported: 400,
  UnsupportedOperation: 400,
  Unavailable: 503,
  VcpuLimitExceeded: 400,
} as const satisfies Record<string, number>;

export type Ec2ErrorCode = keyof typeof EC2_ERROR_STATUS;

/** An answer of EC2 that says no: what the SDK turns into an exception whose `name` is the code. */
export class Ec2Error extends Error {
  readonly code: Ec2ErrorCode;
  readonly httpStatus: number;

  constructor(code: Ec2ErrorCode, message: string) {
    super(message);
    this.name = 'Ec2Error';
    this.code = code;
    this.httpStatus = EC2_ERROR_STATUS[code];
  }
}

/** True for a code of the table; what is injected from outside is checked with this. */
export function isEc2ErrorCode(text: string): text is Ec2ErrorCode {
  return Object.hasOwn(EC2_ERROR_STATUS, text);
}
