import {
  agentCapacity,
  commandResult,
  type HostFiles,
  HostKeys,
  instanceAt,
  isJoin,
  isPowered,
  loginKeyFor,
  takeEnrolment,
  takesLogin,
} from '../../src/chaos/host-machine.ts';
import { AppError } from '../../src/model/errors.ts';
import type { CommandResult, Shell, ShellRoute, ShellSession, ShellTarget, UploadFile } from '../../src/ports/shell.ts';
import type { InstanceView, Region } from '../../src/simulator/region.ts';
import { type AgentSurroundings, WorldAgent } from './world-agents.ts';
import type { Injector } from './world-faults.ts';

/** How hosts behave from now on. */
export interface HostManners {
  /** Nothing listens on any of them. */
  closed: boolean;
  /** They prove another key than the one that was injected. */
  foreignKey: boolean;
  /** What making a host key of their own ends with; 0 makes it. */
  rotateExit: number;
  /** Log-in fails with this code. */
  loginFails: 'SSH_UNREACHABLE' | 'SSH_AUTH' | null;
  /** All sessions are taken for longer than anybody waits for one. */
  noTurn: boolean;
  /** Exit code of join scripts; 0 starts the agent. */
  joinExit: number;
  /** The join script says 0, but no agent ever reports. */
  agentMute: boolean;
  /** Exit codes of a command (hooks, readiness) by its text; 0 unless named. */
  readonly exits: Map<string, number>;
}

interface Host {
  readonly files: HostFiles;
  readonly keys: HostKeys;
  /** Commands run on it, joins as `(join)`; what is done to host keys is left out. */
  readonly commands: string[];
  agent: WorldAgent | null;
}

/** Hosts at the level of commands, one per instance of the region, and the `Shell` that reaches them. */
export class WorldHosts implements Shell {
  readonly manners: HostManners = {
    closed: false,
    foreignKey: false,
    rotateExit: 0,
    loginFails: null,
    noTurn: false,
    joinExit: 0,
    agentMute: false,
    exits: new Map(),
  };
  private readonly regions: ReadonlyMap<string, Region>;
  private readonly surroundings: AgentSurroundings;
  private readonly injector: Injector;
  private readonly hosts = new Map<string, Host>();

  constructor(regions: ReadonlyMap<string, Region>, surroundings: AgentSurroundings, injector: Injector) {
    this.regions = regions;
    this.surroundings = surroundings;
    this.injector = injector;
  }

  async isOpen({ host }: ShellRoute): Promise<boolean> {
    return !this.manners.closed && instanceAt(this.regions.values(), host) !== null;
  }

  async withSession<T>(
    target: ShellTarget,
    _deadlineMs: number,
    use: (session: ShellSession) => Promise<T>,
  ): Promise<T> {
    const instance = instanceAt(this.regions.values(), target.host);
    const { closed, loginFails, foreignKey, noTurn } = this.manners;
    if (noTurn) throw new AppError('TIMEOUT', 'no session became free', { remedy: 'none', details: { noTurn } });
    if (instance === null || closed) throw sshError('SSH_UNREACHABLE', target);
    const host = this.hostOf(instance);
    const wanted = target.trust.kind === 'keys' ? target.trust.keys : [];
    if (foreignKey || !host.keys.proves(wanted)) throw wrongKey(target, foreignKey ? null : host.keys.shown());
    if (loginFails !== null) throw sshError(loginFails, target);
    if (target.login.kind === 'pushed') await target.login.push(loginKeyFor(instance.instanceId));
    if (!takesLogin(this.regions.values(), instance, target)) throw sshError('SSH_AUTH', target);
    return await use({
      upload: async (files) => await this.injector.around('session.upload', async () => upload(host, files)),
      runScript: async (script) =>
        await this.injector.around('session.runScript', async () => this.run(host, instance, script)),
    });
  }

  /** What was run on an instance, in order. */
  commandsOn(instanceId: string): readonly string[] {
    return this.hosts.get(instanceId)?.commands ?? [];
  }

  agentOn(instanceId: string): WorldAgent | null {
    return this.hosts.get(instanceId)?.agent ?? null;
  }

  fileOn(instanceId: string, path: string): string | undefined {
    return this.hosts.get(instanceId)?.files.get(path);
  }

  /** Whether it would prove this key now. */
  proves(instanceId: string, key: string): boolean {
    return this.hosts.get(instanceId)?.keys.proves([key]) ?? false;
  }

  /** The key that an instance has of its own: one that it makes, or made when it was given none. */
  ownKey(instanceId: string): string {
    const instance = [...this.regions.values()]
      .map((region) => region.findInstance(instanceId))
      .find((found) => found !== null);
    return new HostKeys(instance ?? { instanceId, userData: null }).own();
  }

  listAgents(): readonly WorldAgent[] {
    return [...this.hosts.values()].flatMap(({ agent }) => (agent === null ? [] : [agent]));
  }

  private run(host: Host, instance: InstanceView, script: string): CommandResult {
    const answer = host.keys.run(script);
    if (answer !== null) return this.manners.rotateExit === 0 ? answer : commandResult(this.manners.rotateExit);
    if (!isJoin(script)) {
      const command = script.trim();
      host.commands.push(command);
      return commandResult(this.manners.exits.get(command) ?? 0);
    }
    host.commands.push('(join)');
    if (this.manners.joinExit !== 0) return commandResult(this.manners.joinExit);
    const inherited = host.agent?.leave();
    host.agent = null;
    const token = takeEnrolment(host.files);
    if (token === null) return commandResult(66);
    if (this.manners.agentMute) return commandResult(0);
    host.agent = new WorldAgent(this.surroundings, {
      name: `agent-on-${instance.instanceId}`,
      enrolmentToken: token,
      capacity: agentCapacity(instance),
      isPowered: () => isPowered(this.regions.values(), instance),
      ...(inherited === undefined ? {} : { inherited }),
    });
    return commandResult(0);
  }

  private hostOf(instance: InstanceView): Host {
    const host = this.hosts.get(instance.instanceId) ?? {
      files: new Map(),
      keys: new HostKeys(instance),
      commands: [],
      agent: null,
    };
    this.hosts.set(instance.instanceId, host);
    return host;
  }
}

function upload(host: Host, files: readonly UploadFile[]): void {
  for (const { path, content } of files) host.files.set(path, content);
}

function wrongKey(target: ShellTarget, shown: string | null): AppError {
  const details = shown === null ? {} : { offeredKey: shown, host: `${target.host}:${target.port}` };
  return new AppError('SSH_HOST_KEY', `no session with ${target.host}`, {
    remedy: 'none: the world is made so',
    details,
  });
}

function sshError(code: 'SSH_UNREACHABLE' | 'SSH_HOST_KEY' | 'SSH_AUTH', { host }: ShellTarget): AppError {
  return new AppError(code, `no session with ${host}`, { remedy: 'none: the world is made so' });
}
