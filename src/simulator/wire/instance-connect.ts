/** EC2 Instance Connect's protocol, JSON 1.1: the action is a header, the members are those of the body. */
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import type { Ec2ErrorCode } from '../ec2-error.ts';
import { Ec2Error } from '../ec2-error.ts';
import type { Region } from '../region.ts';
import type { AwsProtocol } from './protocol.ts';

const TARGET = 'AWSEC2InstanceConnectService.';
const ACTION = 'SendSSHPublicKey';

const requestSchema = z.strictObject({
  InstanceId: z.string(),
  InstanceOSUser: z.string(),
  SSHPublicKey: z.string(),
  AvailabilityZone: z.string().optional(),
});

/** What AWS calls the same in a service that speaks JSON. */
const CODES: Partial<Record<Ec2ErrorCode, string>> = {
  AuthFailure: 'UnrecognizedClientException',
  InternalError: 'ServiceException',
  InvalidAction: 'UnknownOperationException',
  RequestExpired: 'InvalidSignatureException',
  RequestLimitExceeded: 'ThrottlingException',
  UnauthorizedOperation: 'AccessDeniedException',
};

/** Whether a request is for EC2 Instance Connect, and not for EC2, which has no such header. */
export function isConnectRequest({ headers }: Pick<IncomingMessage, 'headers'>): boolean {
  return headers['x-amz-target'] !== undefined;
}

export const CONNECT: AwsProtocol = {
  service: 'ec2-instance-connect',
  contentType: 'application/x-amz-json-1.1',
  actionOf: ({ headers }) => {
    const target = String(headers['x-amz-target']);
    return target.startsWith(TARGET) ? target.slice(TARGET.length) : target;
  },
  perform,
  writeError: ({ code, message }) => JSON.stringify({ __type: CODES[code] ?? code, Message: message }),
};

function perform(region: Region, { action, body }: { readonly action: string; readonly body: string }): string {
  if (action !== ACTION) throw new Ec2Error('InvalidAction', `The operation ${action} is not known`);
  const parsed = requestSchema.safeParse(readJson(body));
  if (!parsed.success) throw new Ec2Error('InvalidArgsException', z.prettifyError(parsed.error));
  return JSON.stringify(region.perform(ACTION, parsed.data));
}

function readJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw new Ec2Error('InvalidArgsException', 'The request is not JSON');
  }
}
