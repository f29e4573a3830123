/** EC2 Instance Connect: a public key for one user of one instance, for a minute. */
import type { SendSSHPublicKeyRequest, SendSSHPublicKeyResponse } from '@aws-sdk/client-ec2-instance-connect';
import { Ec2Error } from './ec2-error.ts';
import type { SimulatedInstance } from './life.ts';
import { stateAt } from './life.ts';
import type { RegionState } from './region-state.ts';
import { arnOf, authorize, resourceContext } from './region-state.ts';

/** The service's own patterns. Of key types only the one that the product makes. */
const INSTANCE_ID = /^i-[0-9a-f]{8,30}$/;
const USER = /^[A-Za-z_][A-Za-z0-9@._-]{0,30}[A-Za-z0-9$_-]?$/;
const PUBLIC_KEY = /^ssh-ed25519 [A-Za-z0-9+/]{68}$/;

/** Rights are asked before the state is. A key that is brought again is good for longer. */
export function sendSshPublicKey(state: RegionState, input: SendSSHPublicKeyRequest): SendSSHPublicKeyResponse {
  const { InstanceId: id = '', InstanceOSUser: user = '', SSHPublicKey: publicKey = '' } = input;
  for (const [value, pattern, name] of [
    [id, INSTANCE_ID, 'InstanceId'],
    [user, USER, 'InstanceOSUser'],
    [publicKey, PUBLIC_KEY, 'SSHPublicKey'],
  ] as const) {
    if (!pattern.test(value)) throw new Ec2Error('InvalidArgsException', `${name} is not valid`);
  }
  const nowMs = state.clock.nowMs();
  const instance = state.describable.get(id);
  if (instance === undefined || isInOtherZone(instance, input))
    throw new Ec2Error('EC2InstanceNotFoundException', `Instance not found: ${id}`);
  authorizeFor(state, instance, user);
  const now = stateAt(instance, nowMs);
  if (now !== 'running') throw new Ec2Error('EC2InstanceStateInvalidException', `Instance ${id} is ${now}`);
  const others = (state.pushedKeys.get(id) ?? []).filter(
    (key) => key.untilMs > nowMs && !(key.user === user && key.publicKey === publicKey),
  );
  state.pushedKeys.set(id, [...others, { user, publicKey, untilMs: nowMs + state.settings.pushedKeyMs }]);
  return { RequestId: state.ids.hex(16), Success: true };
}

function isInOtherZone({ subnet }: SimulatedInstance, { AvailabilityZone: zone }: SendSSHPublicKeyRequest): boolean {
  return zone !== undefined && zone !== subnet.zone;
}

function authorizeFor(state: RegionState, instance: SimulatedInstance, user: string): void {
  authorize(state, [
    {
      action: 'ec2-instance-connect:SendSSHPublicKey',
      resource: arnOf(state, `instance/${instance.instanceId}`),
      context: new Map([...resourceContext(instance), ['ec2:osuser', [user]]]),
    },
  ]);
}

/** What a user of an instance may log in with now. */
export function pushedKeysOf(state: RegionState, instanceId: string, user: string): readonly string[] {
  const nowMs = state.clock.nowMs();
  return (state.pushedKeys.get(instanceId) ?? [])
    .filter((key) => key.user === user && key.untilMs > nowMs)
    .map(({ publicKey }) => publicKey);
}
