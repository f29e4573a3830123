import { createHash } from 'node:crypto';
import type { Resources } from '../model/resources.ts';
import type { CommandResult, ShellTarget } from '../ports/shell.ts';
import type { InstanceView, Region } from '../simulator/region.ts';

/** As cloud-init has it, or as Windows does. */
const NAMES_A_KEY = /ssh_authorized_keys:|administrators_authorized_keys/;

/**
 * Whether a host lets somebody in: with a key that EC2 Instance Connect brought, or, for all other keys are one to a simulation,
 * because its user-data named one.
 */
export function takesLogin(
  regions: Iterable<Region>,
  { instanceId, userData }: Pick<InstanceView, 'instanceId' | 'userData'>,
  { user, login }: Pick<ShellTarget, 'user' | 'login'>,
): boolean {
  if (login.kind !== 'pushed') return NAMES_A_KEY.test(Buffer.from(userData ?? '', 'base64').toString('utf8'));
  const publicKey = loginKeyFor(instanceId);
  return [...regions].some((region) => region.pushedKeys(instanceId, user).includes(publicKey));
}

/** The key of everybody who logs in to an instance with one that is pushed. */
export function loginKeyFor(instanceId: string): string {
  return keyNamed(`log-in to ${instanceId}`);
}

/** A public key that nobody has the other half of, the same in every run. */
function keyNamed(name: string): string {
  const head = Buffer.from('0000000b7373682d6564323535313900000020', 'hex');
  return `ssh-ed25519 ${Buffer.concat([head, createHash('sha256').update(name).digest()]).toString('base64')}`;
}

/** The files of a host that a join has put there, by their path. */
export type HostFiles = Map<string, string>;

/** The instance whose host answers at an address: it runs and has booted. */
export function instanceAt(regions: Iterable<Region>, address: string): InstanceView | null {
  for (const region of regions) {
    const found = region
      .instances()
      .find(({ privateIp, state, bootedAtMs }) => privateIp === address && state === 'running' && bootedAtMs !== null);
    if (found !== undefined) return found;
  }
  return null;
}

/** True while there is a machine under what runs on it: nothing outlives a stop, though the machine may start again. */
export function isPowered(
  regions: Iterable<Region>,
  { instanceId, startedAtMs }: Pick<InstanceView, 'instanceId' | 'startedAtMs'>,
): boolean {
  for (const region of regions) {
    const found = region.findInstance(instanceId);
    if (found !== null) return found.state === 'running' && found.startedAtMs === startedAtMs;
  }
  return false;
}

/** The host keys of one machine: the one it was given, and the one it made and took up. Its own are the same in every run. */
export class HostKeys {
  private readonly instance: Pick<InstanceView, 'instanceId' | 'userData'>;
  private made = false;
  private active: string | null = null;
  private proof = '';

  constructor(instance: Pick<InstanceView, 'instanceId' | 'userData'>) {
    this.instance = instance;
    // Without one that was given, cloud-init makes one.
    if (!/ssh_keys:|ssh_host_ed25519_key/.test(this.userData())) this.active = this.own();
  }

  /** Whether the host can prove one of `keys` now. */
  proves(keys: readonly string[]): boolean {
    if (this.active !== null) return keys.includes(this.active);
    return keys.some((key) => this.userData().includes(key));
  }

  /** What it shows to whoever does not believe it; null while that is the key it was given. */
  shown(): string | null {
    return this.active;
  }

  private userData(): string {
    return Buffer.from(this.instance.userData ?? '', 'base64').toString('utf8');
  }

  /** What the scripts of the first contact do; null = it is another script. */
  run(script: string): CommandResult | null {
    if (script.includes('# spillway: prepare host key')) {
      this.made = true;
      return { ...commandResult(0), output: `${this.own()} spillway\n` };
    }
    if (asksForProof(script)) return { ...commandResult(0), output: `${this.proof}\n` };
    const [, wanted, proof = ''] = /# spillway: activate host key (\S+) (\S+)/.exec(script) ?? [];
    if (wanted === undefined) return null;
    if (!this.made || !this.own().endsWith(` ${wanted}`)) return commandResult(1);
    this.proof = proof;
    this.active = this.own();
    return commandResult(0);
  }

  /** The key that it makes. */
  own(): string {
    return keyNamed(`host key of ${this.instance.instanceId}`);
  }
}

/** Whether a script reads the proof of a host key, and nothing else. */
export function asksForProof(script: string): boolean {
  return script.startsWith('# spillway: proof of the host key');
}

/** Whether a script is the one that joins, and not a command of the policy. */
export function isJoin(script: string): boolean {
  return script.includes('agent.pid') || script.startsWith('# spillway: join');
}

/** The token with which the agent will register; null where nothing was uploaded, or the join has read it. */
export function enrolmentIn(files: HostFiles): string | null {
  return /^SPILLWAY_ENROL_TOKEN=(.+)$/m.exec(files.get('.spillway/agent.settings') ?? '')?.[1] ?? null;
}

/** That token. As the script does, it is read once. */
export function takeEnrolment(files: HostFiles): string | null {
  const token = enrolmentIn(files);
  if (token === null) return null;
  files.delete('.spillway/agent.settings');
  return token;
}

/** What the agent of an instance offers: some of the memory is the system's. */
export function agentCapacity({ vcpus, memoryMib, gpus }: InstanceView): Resources {
  return { cpuMilli: vcpus * 1000, memoryMib: memoryMib - 512, gpus };
}

export function commandResult(exitCode: number): CommandResult {
  return { exitCode, signal: null, output: exitCode === 0 ? '' : `exit ${exitCode}`, truncated: false };
}
