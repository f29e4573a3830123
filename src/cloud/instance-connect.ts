import type { EC2InstanceConnectClient } from '@aws-sdk/client-ec2-instance-connect';
import { AppError } from '../model/errors.ts';
import type { LoginKey } from '../ports/cloud.ts';
import { readAwsFailure, toCloudError } from './aws-errors.ts';
import type { CallGate } from './call-gate.ts';
import { clientSettings, withDeadline, type Ec2Timeouts } from './ec2-client.ts';

/** What EC2 Instance Connect says of an instance that will take a key later, or never: the deadline of whoever asks decides. */
const NOT_NOW: readonly string[] = [
  'EC2InstanceNotFoundException',
  'EC2InstanceStateInvalidException',
  'EC2InstanceUnavailableException',
];

interface KeyPusher {
  push(region: string, key: LoginKey): Promise<void>;
  close(): void;
}

export interface KeyPusherOptions {
  readonly timeouts: Ec2Timeouts;
  readonly gate: CallGate;
}

/**
 * EC2 Instance Connect, a service beside EC2 with a client of its own (`AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT`). It is loaded with
 * the first key, because most installations push none.
 */
export function openKeyPusher({ timeouts, gate }: KeyPusherOptions): KeyPusher {
  const clients = new Map<string, EC2InstanceConnectClient>();
  const send = async (region: string, key: LoginKey, abortSignal: AbortSignal): Promise<void> => {
    const { EC2InstanceConnectClient: Client, SendSSHPublicKeyCommand } =
      await import('@aws-sdk/client-ec2-instance-connect');
    const client = clients.get(region) ?? new Client(clientSettings(region, timeouts));
    clients.set(region, client);
    const { instanceId: InstanceId, user: InstanceOSUser, publicKey: SSHPublicKey } = key;
    const command = new SendSSHPublicKeyCommand({ InstanceId, InstanceOSUser, SSHPublicKey });
    await client.send(command, { abortSignal });
  };
  return {
    push: async (region, key) => {
      try {
        // The same key twice is one key, so that it may be tried again as a read is.
        await gate.read({ region, action: 'SendSSHPublicKey', deadlineMs: timeouts.callMs }, async (leftMs) => {
          await withDeadline(leftMs, async (abortSignal) => await send(region, key, abortSignal));
        });
      } catch (error) {
        throw toPushError(error, key);
      }
    },
    close: () => {
      for (const client of clients.values()) client.destroy();
      clients.clear();
    },
  };
}

/** Also for a region in this process, which throws the same codes. */
export function toPushError(error: unknown, { instanceId, user }: LoginKey): AppError {
  const { code, message } = readAwsFailure(error);
  if (!NOT_NOW.includes(code)) return toCloudError(error, `bring a key of ${user} to ${instanceId}`);
  return new AppError('SSH_UNREACHABLE', `${instanceId} takes no key now: ${code}: ${message}`, {
    remedy: `Nothing to do while it boots; else look at \`aws ec2 describe-instance-status --instance-ids ${instanceId}\`.`,
    cause: error,
    details: { awsCode: code },
  });
}
