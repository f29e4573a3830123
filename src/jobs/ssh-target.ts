import type { BastionPolicy, WorkloadPolicy } from '../model/policy.ts';
import type { LoginKey } from '../ports/cloud.ts';
import type { MachineRecord } from '../ports/machines.ts';
import type { HostTrust, ShellJump, ShellLogin, ShellRoute, ShellTarget, StandingLogin } from '../ports/shell.ts';
import type { StepPorts } from './ports.ts';

type SshPolicy = WorkloadPolicy['join']['ssh'];

/** The key that a policy has for all its machines; what a policy with `instanceConnect` has is for its jump hosts alone. */
export function standingLoginOf({
  identityFile,
  agentSocket,
}: Pick<SshPolicy, 'identityFile' | 'agentSocket'>): StandingLogin {
  return identityFile === null ? { kind: 'agent', socket: agentSocket ?? null } : { kind: 'file', file: identityFile };
}

/** The way to a machine's SSH port. */
export function shellRoute({ join: { ssh } }: WorkloadPolicy, address: string): ShellRoute {
  return {
    host: address,
    port: ssh.port,
    jumps: (ssh.bastions ?? []).map((bastion) => hopOf(ssh, bastion)),
    transport: ssh.transport ?? 'ssh2',
  };
}

/** A machine that has an instance and an address. */
export interface ShellPlace {
  readonly policy: WorkloadPolicy;
  readonly instanceId: string;
  readonly address: string;
}

/** Where and how to log in on a machine that must prove `trust`. */
export function shellTarget(
  ports: StepPorts,
  record: MachineRecord,
  { policy, instanceId, address }: ShellPlace,
  trust: HostTrust,
): ShellTarget {
  const { ssh, recipe } = policy.join;
  const shell = recipe.shell === undefined ? {} : { shell: recipe.shell };
  const login = isKeyPushed(record, ssh)
    ? pushedLogin(ports, record.launch.body.region, { instanceId, user: ssh.user })
    : standingLoginOf(ssh);
  return { ...shellRoute(policy, address), user: ssh.user, login, trust, ...shell };
}

/** A machine that was launched without a key takes no other, whatever the policy says by now. */
function isKeyPushed({ launch }: MachineRecord, { instanceConnect }: SshPolicy): boolean {
  return instanceConnect === true || launch.body.authorizedKey === null;
}

/** The shell calls it when it is about to log in, each time with another key. */
function pushedLogin({ cloud }: StepPorts, region: string, to: Omit<LoginKey, 'publicKey'>): ShellLogin {
  return { kind: 'pushed', push: async (publicKey) => await cloud.pushLoginKey(region, { ...to, publicKey }) };
}

function hopOf(ssh: SshPolicy, { host, port, user, identityFile, hostKey }: BastionPolicy): ShellJump {
  const trust: HostTrust =
    'key' in hostKey ? { kind: 'keys', keys: [hostKey.key] } : { kind: 'known', file: hostKey.knownHostsFile };
  return {
    host,
    port,
    user,
    trust,
    login: standingLoginOf(identityFile === undefined ? ssh : { identityFile }),
  };
}

/** True when the launch gave the machine a host key of ours, whatever the policy says by now. */
export function hasInjectedKey({ launch }: MachineRecord): boolean {
  return launch.body.hostKey === undefined;
}

/**
 * What a machine must prove now; null = nothing is known that it could. The pinned key alone once the machine has proved it.
 * Until then the one-time key of its launch is good, too: whoever pinned may have died before the machine took its new key.
 */
export function trustOf(ports: StepPorts, record: MachineRecord, policy: WorkloadPolicy): HostTrust | null {
  const { hostKey: pinned } = record;
  if (pinned?.confirmed === true) return { kind: 'keys', keys: [pinned.key] };
  if (hasInjectedKey(record)) {
    return {
      kind: 'keys',
      keys: [...(pinned === null ? [] : [pinned.key]), ports.credentials.hostPublicKey(record.launch.nonce)],
    };
  }
  if (pinned !== null) return { kind: 'keys', keys: [pinned.key] };
  const { hostKey: mode, trustFile } = policy.join.ssh;
  if (trustFile === undefined || (mode !== 'known' && mode !== 'ca')) return null;
  return { kind: mode, file: trustFile };
}
