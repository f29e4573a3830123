import { AppError } from '../../src/model/errors.ts';
import type { CommandResult, Shell, ShellSession, ShellTarget, UploadFile } from '../../src/ports/shell.ts';
import type { InstanceView, Region } from '../../src/simulator/region.ts';
import { type AgentSurroundings, WorldAgent } from './world-agents.ts';
import type { Injector } from './world-faults.ts';

/** How hosts behave from now on. */
export interface HostManners {
  /** Nothing listens on any of them. */
  closed: boolean;
  /** They prove another key than the one that was injected. */
  foreignKey: boolean;
  /** Log-in fails with this code. */
  loginFails: 'SSH_UNREACHABLE' | 'SSH_AUTH' | null;
  /** Exit code of join scripts; 0 starts the agent. */
  joinExit: number;
  /** The join script says 0, but no agent ever reports. */
  agentMute: boolean;
  /** Exit codes of a command (hooks, readiness) by its text; 0 unless named. */
  readonly exits: Map<string, number>;
}

interface Host {
  readonly files: Map<string, string>;
  /** Commands run on it, joins as `(join)`. */
  readonly commands: string[];
  agent: WorldAgent | null;
}

/** Hosts at the level of commands, one per instance of the region, and the `Shell` that reaches them. */
export class WorldHosts implements Shell {
  readonly manners: HostManners = {
    closed: false,
    foreignKey: false,
    loginFails: null,
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

  async isOpen(address: string): Promise<boolean> {
    return !this.manners.closed && this.instanceAt(address) !== null;
  }

  async withSession<T>(
    target: ShellTarget,
    _deadlineMs: number,
    use: (session: ShellSession) => Promise<T>,
  ): Promise<T> {
    const instance = this.instanceAt(target.host);
    const { closed, loginFails, foreignKey } = this.manners;
    if (instance === null || closed) throw sshError('SSH_UNREACHABLE', target);
    if (foreignKey || !hasHostKey(instance, target.hostKey)) throw sshError('SSH_HOST_KEY', target);
    if (loginFails !== null) throw sshError(loginFails, target);
    const host = this.hostOf(instance.instanceId);
    return await use({
      upload: async (files) => await this.injector.around('session.upload', async () => upload(host, files)),
      runScript: async (script) =>
        await this.injector.around('session.runScript', async () => this.run(host, instance, script)),
    });
  }

  /** What was run on an instance, in order. */
  commandsOn(instanceId: string): readonly string[] {
    return this.hostOf(instanceId).commands;
  }

  agentOn(instanceId: string): WorldAgent | null {
    return this.hostOf(instanceId).agent;
  }

  fileOn(instanceId: string, path: string): string | undefined {
    return this.hostOf(instanceId).files.get(path);
  }

  listAgents(): readonly WorldAgent[] {
    return [...this.hosts.values()].flatMap(({ agent }) => (agent === null ? [] : [agent]));
  }

  private run(host: Host, instance: InstanceView, script: string): CommandResult {
    if (!script.includes('agent.pid')) {
      const command = script.trim();
      host.commands.push(command);
      return result(this.manners.exits.get(command) ?? 0);
    }
    host.commands.push('(join)');
    if (this.manners.joinExit !== 0) return result(this.manners.joinExit);
    const inherited = host.agent?.leave();
    host.agent = null;
    const token = /^SPILLWAY_ENROL_TOKEN=(.+)$/m.exec(host.files.get('.spillway/agent.settings') ?? '')?.[1];
    if (token === undefined) return result(66);
    // As the script does: the token is read once.
    host.files.delete('.spillway/agent.settings');
    if (this.manners.agentMute) return result(0);
    host.agent = new WorldAgent(this.surroundings, {
      name: `agent-on-${instance.instanceId}`,
      enrolmentToken: token,
      capacity: { cpuMilli: instance.vcpus * 1000, memoryMib: instance.memoryMib - 512, gpus: instance.gpus },
      isPowered: () => this.stateOf(instance.instanceId) === 'running',
      ...(inherited === undefined ? {} : { inherited }),
    });
    return result(0);
  }

  private hostOf(instanceId: string): Host {
    const host = this.hosts.get(instanceId) ?? { files: new Map(), commands: [], agent: null };
    this.hosts.set(instanceId, host);
    return host;
  }

  private stateOf(instanceId: string): string | undefined {
    for (const region of this.regions.values()) {
      const found = region.findInstance(instanceId);
      if (found !== null) return found.state;
    }
    return undefined;
  }

  private instanceAt(address: string): InstanceView | null {
    return this.find(
      ({ privateIp, state, bootedAtMs }) => privateIp === address && state === 'running' && bootedAtMs !== null,
    );
  }

  private find(test: (instance: InstanceView) => boolean): InstanceView | null {
    for (const region of this.regions.values()) {
      const found = region.instances().find(test);
      if (found !== undefined) return found;
    }
    return null;
  }
}

function upload(host: Host, files: readonly UploadFile[]): void {
  for (const { path, content } of files) host.files.set(path, content);
}

/** The key reached the host through user-data, as cloud-init would install it. */
function hasHostKey({ userData }: InstanceView, hostKey: string): boolean {
  return Buffer.from(userData ?? '', 'base64')
    .toString('utf8')
    .includes(hostKey);
}

function result(exitCode: number): CommandResult {
  return { exitCode, signal: null, output: exitCode === 0 ? '' : `exit ${exitCode}`, truncated: false };
}

function sshError(code: 'SSH_UNREACHABLE' | 'SSH_HOST_KEY' | 'SSH_AUTH', { host }: ShellTarget): AppError {
  return new AppError(code, `no session with ${host}`, { remedy: 'none: the world is made so' });
}
