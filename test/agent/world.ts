import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import { test as base } from 'vitest';
import type { TaskId } from '../../src/model/ids.ts';
import { createAgentApi } from '../../src/server/agent-api/create-agent-api.ts';
import { hashToken } from '../../src/server/agent-api/credentials.ts';
import { MemoryGateway } from '../server/agent-api/memory-gateway.ts';
import type { MemoryAgent } from '../server/agent-api/memory-gateway.ts';
import type { SelfSigned } from '../support/certificate.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { quietLog } from '../support/log.ts';
import { until } from '../support/wait.ts';
import { AgentMachine, allProcesses, isAvailable } from './agent-process.ts';
import type { Toolbox } from './agent-process.ts';

const SHELLS = ['dash', 'busybox ash', 'bash'] as const;

/** One row per shell with curl, which of them this machine has. */
export const SHELL_BOXES: readonly Toolbox[] = SHELLS.map((shell) => ({ shell, client: 'curl' as const })).filter(
  isAvailable,
);

/** Every shell with every client, which of them this machine has; the others are named on standard error. */
export function listToolboxes(): readonly Toolbox[] {
  const all = SHELLS.flatMap((shell) => [
    { shell, client: 'curl' as const },
    { shell, client: 'wget' as const },
  ]);
  for (const { shell, client } of all.filter((box) => !isAvailable(box))) {
    process.stderr.write(`SKIPPED: the agent on ${shell} with ${client}: not on this machine\n`);
  }
  return all.filter(isAvailable);
}

/** A task without earlier progress. */
export const PLAIN = { progressBase64: null };

/** One service and the machines that talk to it; each test has its own, so that tests can run side by side. */
export class World {
  readonly gateway = new MemoryGateway();
  readonly #machines: AgentMachine[] = [];
  #server: FastifyInstance | null = null;
  #port = 0;
  #cutter: Server | null = null;
  readonly #tls: Server[] = [];

  async listen(): Promise<void> {
    const { gateway } = this;
    this.#server = createAgentApi({
      gateway,
      clock: realClock,
      deploymentKey: Buffer.alloc(32, 7),
      ids: randomIds,
      log: quietLog,
    });
    await this.#server.listen({ host: '127.0.0.1', port: this.#port });
    this.#port = (this.#server.server.address() as AddressInfo).port;
  }

  /** The same service over TLS, behind a certificate that signed itself; `refused` counts those who did not trust it. */
  async listenOnTls({
    keyPem,
    certificatePem,
  }: SelfSigned): Promise<{ readonly url: string; readonly refused: () => number }> {
    let refused = 0;
    const server = createTlsServer({ key: keyPem, cert: certificatePem }, (socket) => {
      const inner = connect(this.#port, '127.0.0.1');
      for (const end of [socket, inner]) end.on('error', () => undefined);
      // With TLS 1.3 a caller without trust hangs up when our side is done already.
      let heard = false;
      socket.once('data', () => (heard = true));
      socket.once('close', () => (refused += heard ? 0 : 1));
      socket.pipe(inner).pipe(socket);
    });
    server.on('tlsClientError', () => (refused += 1));
    this.#tls.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, refused: () => refused };
  }

  async hangUp(): Promise<void> {
    await this.#server?.close();
    const cutter = this.#cutter;
    this.#cutter = null;
    if (cutter !== null) await new Promise((resolve) => cutter.close(resolve));
  }

  /** In the service's place somebody takes every call and cuts it; returns how many there were until now. */
  async cutEveryCall(): Promise<() => number> {
    await this.hangUp();
    let calls = 0;
    const cutter = createServer((socket) => {
      calls += 1;
      socket.destroy();
    });
    this.#cutter = cutter;
    await new Promise<void>((resolve) => cutter.listen(this.#port, '127.0.0.1', resolve));
    return () => calls;
  }

  /** A token with which one agent may register. */
  enrolment(): string {
    const token = `enrol-${randomIds.hex(16)}`;
    this.gateway.enrolments.set(hashToken(token), null);
    return token;
  }

  machine(toolbox: Toolbox): AgentMachine {
    const machine = new AgentMachine(toolbox, {
      SPILLWAY_URL: `http://127.0.0.1:${this.#port}`,
      SPILLWAY_ENROL_TOKEN: this.enrolment(),
      SPILLWAY_NAME: 'host-1',
      SPILLWAY_LABELS: 'pool=media,rack=a1',
      SPILLWAY_CPUS: '4',
      SPILLWAY_MEMORY_MIB: '2048',
      // Whatever the machine that runs the tests has.
      SPILLWAY_GPUS: '0',
    });
    this.#machines.push(machine);
    return machine;
  }

  async startMachine(
    toolbox: Toolbox,
    settings: Readonly<Record<string, string>> = {},
  ): Promise<{ machine: AgentMachine; agent: MemoryAgent; enrolment: string }> {
    const machine = this.machine(toolbox);
    machine.start(settings);
    const agent = await until('the agent has reported', () => {
      const found = this.gateway.agent('host-1');
      return found !== null && found.reports.length > 0 ? found : null;
    });
    return { machine, agent, enrolment: machine.settings['SPILLWAY_ENROL_TOKEN']! };
  }

  logOf(taskId: TaskId, attempt = 1): string {
    return this.gateway.logs.get(`${taskId}.${attempt}`)?.toString() ?? '';
  }

  async end(): Promise<void> {
    for (const machine of this.#machines) await machine.clean();
    for (const server of this.#tls) server.close();
    await this.hangUp();
  }
}

export const test = base.extend<{ world: World }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads the names of the fixtures from this pattern
  world: async ({}, use) => {
    const world = new World();
    await world.listen();
    await use(world);
    await world.end();
  },
});

export function exitOf(agent: MemoryAgent, taskId: TaskId): number | null {
  return agent.assigned.get(taskId)?.exitCode ?? null;
}

export function isRunning(agent: MemoryAgent, taskId: TaskId): boolean {
  return agent.reports.at(-1)?.tasks.some((task) => task.taskId === taskId && task.state === 'running') ?? false;
}

/** True when a process stands in the working directory of the task. */
export function hasProcess(machine: AgentMachine, taskId: TaskId): boolean {
  return allProcesses().some(({ folder }) => folder.startsWith(join(machine.state, 'tasks', taskId)));
}
