import { AppError, type ErrorCode } from '../model/errors.ts';
import { MINUTE_MS, SECOND_MS } from '../model/time.ts';
import type { CommandResult, Shell, ShellSession, ShellTarget, UploadFile } from '../ports/shell.ts';
import type { InstanceView, Region } from '../simulator/region.ts';
import type { Metadata } from './agent-work.ts';
import { type AgentWorld, ChaosAgent } from './agents.ts';
import {
  agentCapacity,
  commandResult,
  enrolmentIn,
  type HostFiles,
  HostKeys,
  instanceAt,
  asksForProof,
  isJoin,
  isPowered,
  loginKeyFor,
  takeEnrolment,
  takesLogin,
} from './host-machine.ts';
import { HOOKS } from './letting-go.ts';
import { type FaultRates, performing, type Proc, type Sim } from './sim.ts';

const LATENCY_MS = 300;
/** What the join script waits for the agent it replaces. */
const JOIN_MS = 1_500;
/** How soon an agent finds a notice in the instance metadata, and how late that is where it comes late. */
const NOTICED_S = { low: 1, high: 10, lateHigh: 130 } as const;
const SICK_MINUTES_MAX = 15;

interface Host {
  readonly files: HostFiles;
  readonly keys: HostKeys;
  agent: ChaosAgent | null;
  /** A join that runs; a second one is told to come back. */
  joining: boolean;
  /** Its SSH answers with another key than the one it was given. */
  readonly foreignKey: boolean;
  /** Its SSH never listens. */
  readonly isDeaf: boolean;
  /** What its instance metadata says. */
  metadata: Metadata;
  /** The hook `health` fails on it until then. */
  sickUntilMs: number;
}

/** How some hosts are, by chance. */
export interface HostRates {
  readonly neverOpens: number;
  readonly foreignKey: number;
  readonly joinFails: number;
  readonly agentMute: number;
  readonly healthFails: number;
  readonly noticeLost: number;
  readonly noticeLate: number;
}

/** Machines as SSH shows them: one host per instance of the regions, and what a join does there. */
export class ChaosHosts {
  private readonly sim: Sim;
  private readonly regions: readonly Region[];
  private readonly agents: AgentWorld;
  private readonly rates: HostRates;
  private readonly hosts = new Map<string, Host>();

  constructor(sim: Sim, options: { regions: readonly Region[]; agents: AgentWorld; rates: HostRates }) {
    this.sim = sim;
    this.regions = options.regions;
    this.agents = options.agents;
    this.rates = options.rates;
  }

  agentOn(instanceId: string): ChaosAgent | null {
    return this.hosts.get(instanceId)?.agent ?? null;
  }

  listAgents(): readonly ChaosAgent[] {
    return [...this.hosts.values()].flatMap(({ agent }) => (agent === null ? [] : [agent]));
  }

  /** EC2 tells the machine that it takes it back; the machine may hear of it late, or never. */
  giveNotice(instanceId: string): void {
    const { sim, rates } = this;
    const [interruptedAtMs = 0] = this.regions.flatMap((region) => region.interruptedAtMs(instanceId) ?? []);
    if (sim.strikes('imds', 'notice-lost', rates.noticeLost)) return;
    sim.note(`${instanceId} is given notice`);
    const isLate = sim.strikes('imds', 'notice-late', rates.noticeLate);
    const inS = sim.chance.integer('imds:after', NOTICED_S.low, isLate ? NOTICED_S.lateHigh : NOTICED_S.high);
    // To the second, as EC2 tells it.
    const atMs = Math.floor(interruptedAtMs / SECOND_MS) * SECOND_MS;
    const hasTime = sim.chance.roll('imds:time').value < 0.8;
    sim.at(inS * SECOND_MS, () => {
      const host = this.hosts.get(instanceId);
      if (host === undefined) return;
      host.metadata = { ...host.metadata, interruption: { atMs: hasTime ? atMs : null } };
      host.agent?.nudge();
    });
  }

  /** EC2 says that it may take the machine back some time. */
  recommendRebalance(instanceId: string): void {
    const host = this.hosts.get(instanceId);
    if (host !== undefined) host.metadata = { ...host.metadata, rebalance: true };
  }

  /** SSH as one process has it. */
  of(proc: Proc, rates: FaultRates): Shell {
    const call = async <T>(site: string, target: { readonly host: string }, effect: () => T | Promise<T>): Promise<T> =>
      await this.sim.call<T>(proc, {
        site: `ssh.${site}`,
        rates,
        latencyMs: LATENCY_MS,
        perform: performing(effect),
        lost: () => sshError('SSH_UNREACHABLE', target.host),
      });
    return {
      isOpen: async (route) => await call('open', route, () => this.isOpen(route.host)),
      withSession: async (target, _deadlineMs, use) => {
        const there = instanceAt(this.regions, target.host);
        if (target.login.kind === 'pushed' && there !== null) await target.login.push(loginKeyFor(there.instanceId));
        const instance = await call('connect', target, () => this.logIn(target));
        const session: ShellSession = {
          upload: async (files) => await call('upload', target, () => this.upload(instance, target, files)),
          runScript: async (script) => await call('run', target, () => this.run(instance, target, script)),
        };
        return await use(session);
      },
    };
  }

  private isOpen(address: string): boolean {
    const instance = instanceAt(this.regions, address);
    return instance !== null && !this.hostOf(instance).isDeaf;
  }

  private logIn(target: ShellTarget): InstanceView {
    const instance = instanceAt(this.regions, target.host);
    if (instance === null) throw sshError('SSH_UNREACHABLE', target.host);
    const { foreignKey, keys } = this.hostOf(instance);
    const wanted = target.trust.kind === 'keys' ? target.trust.keys : [];
    // Nothing to compare with is as good as any key.
    const believesAll = wanted.includes('');
    if (foreignKey && believesAll) this.agents.onForeignHost(instance.instanceId);
    const proves = foreignKey ? wanted.includes(FOREIGN_KEY) : keys.proves(wanted);
    if (!believesAll && !proves) throw wrongKey(target, foreignKey ? FOREIGN_KEY : keys.shown());
    if (!takesLogin(this.regions, instance, target)) throw sshError('SSH_AUTH', target.host);
    return instance;
  }

  private upload(instance: InstanceView, target: ShellTarget, files: readonly UploadFile[]): void {
    if (instanceAt(this.regions, target.host)?.instanceId !== instance.instanceId)
      throw sshError('SSH_UNREACHABLE', target.host);
    const host = this.hostOf(instance);
    if (host.foreignKey) this.agents.onForeignHost(instance.instanceId);
    for (const { path, content } of files) host.files.set(path, content);
    // From here on, whether or not an agent ever uses it.
    const token = enrolmentIn(host.files);
    if (token !== null) this.agents.onSecret(token);
  }

  private run(instance: InstanceView, target: ShellTarget, script: string): CommandResult {
    if (instanceAt(this.regions, target.host)?.instanceId !== instance.instanceId)
      throw sshError('SSH_UNREACHABLE', target.host);
    const host = this.hostOf(instance);
    // Whoever is not believed may be asked for a proof, and for nothing else.
    if (host.foreignKey && !asksForProof(script)) this.agents.onForeignHost(instance.instanceId);
    const answer = host.keys.run(script);
    if (answer !== null) return answer;
    return isJoin(script) ? this.join(host, instance) : this.runHook(host, instance, script.trim());
  }

  private runHook(host: Host, { instanceId }: InstanceView, command: string): CommandResult {
    const { sim } = this;
    if (command === HOOKS.health) {
      const falls = sim.strikes('host', 'health-fails', this.rates.healthFails);
      if (falls) host.sickUntilMs = sim.nowMs + sim.chance.integer('host:sick', 1, SICK_MINUTES_MAX) * MINUTE_MS;
      if (sim.nowMs < host.sickUntilMs) return commandResult(1);
    }
    this.agents.onHook(instanceId, command);
    return commandResult(0);
  }

  private join(host: Host, instance: InstanceView): CommandResult {
    if (host.joining) return commandResult(75);
    if (this.sim.strikes('host', 'join-fails', this.rates.joinFails)) return commandResult(1);
    const token = takeEnrolment(host.files);
    if (token === null) return commandResult(66);
    const inherited = host.agent?.handOver() ?? new Map();
    host.agent = null;
    if (this.sim.strikes('host', 'agent-mute', this.rates.agentMute)) return commandResult(0);
    host.joining = true;
    this.sim.at(JOIN_MS, () => {
      host.joining = false;
    });
    host.agent = new ChaosAgent(this.agents, {
      name: `agent-on-${instance.instanceId}`,
      enrolmentToken: token,
      capacity: agentCapacity(instance),
      isPowered: () => isPowered(this.regions, instance),
      metadata: () => host.metadata,
      inherited,
    });
    return commandResult(0);
  }

  private hostOf(instance: InstanceView): Host {
    const { instanceId } = instance;
    const found = this.hosts.get(instanceId);
    if (found !== undefined) return found;
    const foreignKey = this.sim.strikes('host', 'foreign-key', this.rates.foreignKey);
    const isDeaf = this.sim.strikes('host', 'never-opens', this.rates.neverOpens);
    const keys = new HostKeys(instance);
    const host: Host = {
      files: new Map(),
      keys,
      agent: null,
      joining: false,
      foreignKey,
      isDeaf,
      metadata: { interruption: null, rebalance: false },
      sickUntilMs: 0,
    };
    this.hosts.set(instanceId, host);
    return host;
  }
}

/** What a host shows that stands in for another. */
const FOREIGN_KEY = `ssh-ed25519 ${Buffer.concat([Buffer.from('0000000b7373682d6564323535313900000020', 'hex'), Buffer.alloc(32, 0x66)]).toString('base64')}`;

function wrongKey(target: Pick<ShellTarget, 'host' | 'port'>, shown: string | null): AppError {
  const details = shown === null ? {} : { offeredKey: shown, host: `${target.host}:${target.port}` };
  return new AppError('SSH_HOST_KEY', `no session with ${target.host}`, { remedy: 'none: it was injected', details });
}

function sshError(code: Extract<ErrorCode, `SSH_${string}`>, host: string): AppError {
  return new AppError(code, `no session with ${host}`, { remedy: 'none: it was injected' });
}
