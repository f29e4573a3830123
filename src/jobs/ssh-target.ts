import type { BastionPolicy, WorkloadPolicy } from '../model/policy.ts';
import type { MachineRecord } from '../ports/machines.ts';
import type { HostTrust, ShellHop, ShellLogin, ShellRoute, ShellTarget } from '../ports/shell.ts';
import type { StepPorts } from './ports.ts';

type SshPolicy = WorkloadPolicy['join']['ssh'];

/** What a policy logs in with. */
export function loginOf({ identityFile, agentSocket }: SshPolicy): ShellLogin {
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

/** Where to log in on a machine that must prove `trust`. */
export function shellTarget(policy: WorkloadPolicy, address: string, trust: HostTrust): ShellTarget {
  const { ssh, recipe } = policy.join;
  const shell = recipe.shell === undefined ? {} : { shell: recipe.shell };
  return { ...shellRoute(policy, address), user: ssh.user, login: loginOf(ssh), trust, ...shell };
}

function hopOf(ssh: SshPolicy, { host, port, user, identityFile, hostKey }: BastionPolicy): ShellHop {
  const trust: HostTrust =
    'key' in hostKey ? { kind: 'keys', keys: [hostKey.key] } : { kind: 'known', file: hostKey.knownHostsFile };
  return {
    host,
    port,
    user,
    trust,
    login: identityFile === undefined ? loginOf(ssh) : loginOf({ ...ssh, identityFile }),
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
