// Goal: the agent keeps its promises on every shell and client it claims to run on.
// Method: the real script, on a PATH that holds nothing but what it asks for, against the real HTTP interface with a
// gateway in memory. The service says 1 s for the interval, so the long polls make everything else immediate.
import { existsSync, readFileSync, statSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { describe, test as base } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import type { TaskId } from '../../src/model/ids.ts';
import { createAgentApi } from '../../src/server/agent-api/create-agent-api.ts';
import { hashToken } from '../../src/server/agent-api/credentials.ts';
import { MemoryGateway } from '../server/agent-api/memory-gateway.ts';
import type { MemoryAgent } from '../server/agent-api/memory-gateway.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { quietLog } from '../support/log.ts';
import { until } from '../support/wait.ts';
import { AgentMachine, allProcesses, isAvailable } from './agent-process.ts';
import type { Toolbox } from './agent-process.ts';

const SHELLS = ['dash', 'busybox ash', 'bash'] as const;
const TOOLBOXES: readonly Toolbox[] = SHELLS.flatMap((shell) => [
  { shell, client: 'curl' as const },
  { shell, client: 'wget' as const },
]);
const PLAIN = { progressBase64: null };

/** One service and the machines that talk to it; each test has its own, so that tests can run side by side. */
class World {
  readonly gateway = new MemoryGateway();
  readonly #machines: AgentMachine[] = [];
  #server: FastifyInstance | null = null;
  #port = 0;

  async listen(): Promise<void> {
    const { gateway } = this;
    this.#server = createAgentApi({ gateway, clock: realClock, ids: randomIds, log: quietLog });
    await this.#server.listen({ host: '127.0.0.1', port: this.#port });
    this.#port = (this.#server.server.address() as AddressInfo).port;
  }

  async hangUp(): Promise<void> {
    await this.#server?.close();
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
    });
    this.#machines.push(machine);
    return machine;
  }

  async startMachine(toolbox: Toolbox): Promise<{ machine: AgentMachine; agent: MemoryAgent; enrolment: string }> {
    const machine = this.machine(toolbox);
    machine.start();
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
    await this.hangUp();
  }
}

const test = base.extend<{ world: World }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads the names of the fixtures from this pattern
  world: async ({}, use) => {
    const world = new World();
    await world.listen();
    await use(world);
    await world.end();
  },
});

function exitOf(agent: MemoryAgent, taskId: TaskId): number | null {
  return agent.assigned.get(taskId)?.exitCode ?? null;
}

function isRunning(agent: MemoryAgent, taskId: TaskId): boolean {
  return agent.reports.at(-1)?.tasks.some((task) => task.taskId === taskId && task.state === 'running') ?? false;
}

/** True when a process stands in the working directory of the task. */
function hasProcess(machine: AgentMachine, taskId: TaskId): boolean {
  return allProcesses().some(({ folder }) => folder.startsWith(join(machine.state, 'tasks', taskId)));
}

for (const toolbox of TOOLBOXES.filter((box) => !isAvailable(box))) {
  process.stderr.write(`SKIPPED: the agent on ${toolbox.shell} with ${toolbox.client}: not on this machine\n`);
}

describe.concurrent.each(TOOLBOXES.filter(isAvailable))('on $shell with $client', (toolbox) => {
  test('an agent registers, runs tasks, tells how they ended and what they said, and leaves', async ({
    world,
    expect,
  }) => {
    const { machine, agent } = await world.startMachine(toolbox);
    expect(agent.registration).toMatchObject({
      capacity: { cpuMilli: 4000, memoryMib: 2048 },
      labels: { pool: 'media', rack: 'a1' },
    });
    expect(agent.reports[0]).toMatchObject({ seq: 1, tasks: [], cordon: { cordoned: false, generation: 0 } });
    expect(agent.reports[0]!.used!.memoryMib).toBeLessThanOrEqual(2048);

    const script = [
      'echo "$SPILLWAY_TASK_ID $SPILLWAY_TASK_ATTEMPT $(cat "$SPILLWAY_PROGRESS_FILE")"',
      'echo complaint >&2',
      'printf \'step 7\\nof 9\' >"$SPILLWAY_PROGRESS_FILE"',
      'echo "token=$SPILLWAY_ENROL_TOKEN"',
      'exit 5',
      '',
    ].join('\n');
    const progressBase64 = Buffer.from('step 3').toString('base64');
    const taskId = world.gateway.assign(agent, { script, progressBase64, attempt: 2 });
    const startedMs = performance.now();
    await until('the exit is recorded', () => exitOf(agent, taskId) !== null);
    // Neither the start nor the end waited for a heartbeat to be due.
    expect(performance.now() - startedMs).toBeLessThan(900);
    expect(exitOf(agent, taskId)).toBe(5);
    expect(agent.progress.get(taskId)).toBe('step 7\nof 9');
    const said = `${taskId} 2 step 3\ncomplaint\ntoken=\n`;
    await until('the log has arrived', () => world.logOf(taskId, 2) === said);
    await until('the task is forgotten', () => !existsSync(join(machine.state, 'tasks', `${taskId}.2`)));

    agent.leave = true;
    world.gateway.ring();
    expect(await machine.exited()).toEqual({ code: 0, signal: null });
    expect(agent.reports.at(-1)).toMatchObject({ leaving: true, tasks: [] });
    expect(machine.processes()).toEqual([]);
    expect(machine.output).toMatch(/^spillway-agent: registered as ag-[0-9a-z]{12}\n$/);
  });

  test('its credentials are in no process list and no readable file, also while it asks', async ({ world, expect }) => {
    const { machine, agent, enrolment } = await world.startMachine(toolbox);
    const token = readFileSync(join(machine.state, 'token'), 'utf8').trim();
    expect(hashToken(token)).toBe(agent.tokenHash);
    await until('its client waits for an answer', () => world.gateway.waiting > 0);
    const commandLines = allProcesses().map(({ commandLine }) => commandLine);
    expect(commandLines.filter((line) => line.includes(machine.folder) && line.includes(toolbox.client))).not.toEqual(
      [],
    );
    expect(commandLines.filter((line) => line.includes(token) || line.includes(enrolment))).toEqual([]);
    expect(statSync(machine.state).mode & 0o777).toBe(0o700);
    for (const name of ['token', 'beat.credential', 'log.credential']) {
      expect(statSync(join(machine.state, name)).mode & 0o077).toBe(0);
    }
    expect(existsSync(join(machine.state, 'enrol.credential'))).toBe(false);
  });

  test('a service that is away or refuses is asked again, and a cut connection loses nothing', async ({
    world,
    expect,
  }) => {
    const { machine, agent } = await world.startMachine(toolbox);
    world.gateway.beforeHeartbeat = () =>
      Promise.reject(new AppError('DATABASE_UNREACHABLE', 'away', { remedy: 'wait' }));
    const before = world.gateway.heartbeats;
    await until('it was refused', () => world.gateway.heartbeats > before);
    world.gateway.beforeHeartbeat = async () => undefined;
    await world.hangUp();
    const taskId = world.gateway.assign(agent, { ...PLAIN, script: 'echo done\n' });
    await world.listen();
    await until('the task is done', () => exitOf(agent, taskId) === 0);
    expect(machine.processes()).not.toEqual([]);
  });

  test('SIGTERM ends the tasks and says goodbye', async ({ world, expect }) => {
    const { machine, agent } = await world.startMachine(toolbox);
    const taskId = world.gateway.assign(agent, { ...PLAIN, script: 'sleep 60 & sleep 60\n' });
    await until('the task runs', () => isRunning(agent, taskId));
    machine.signal('SIGTERM');
    expect(await machine.exited()).toEqual({ code: 0, signal: null });
    expect(agent.reports.at(-1)).toMatchObject({ leaving: true, tasks: [] });
    expect(exitOf(agent, taskId)).toBeNull();
    expect(machine.processes()).toEqual([]);
  });
});

describe.concurrent.each(SHELLS.map((shell) => ({ shell, client: 'curl' as const })).filter(isAvailable))(
  'on $shell',
  (toolbox) => {
    test('a task runs once however often it is ordered, and many at once all run', async () => {
      const { agent } = await world.startMachine(toolbox);
      const ids = Array.from({ length: 12 }, (_, index) =>
        world.gateway.assign(agent, { ...PLAIN, script: `echo ran\nexit ${index}\n` }),
      );
      await until('all have ended', () => ids.every((id) => exitOf(agent, id) !== null));
      expect(ids.map((id) => exitOf(agent, id))).toEqual(ids.map((_, index) => index));
      await until('all logs have arrived', () => ids.every((id) => world.logOf(id) === 'ran\n'));
    });

    test('a stopped task ends, also one that ignores SIGTERM, and is not reported', async () => {
      const { machine, agent } = await world.startMachine(toolbox);
      const taskId = world.gateway.assign(agent, { ...PLAIN, script: "trap '' TERM\nsleep 60 & sleep 60\nsleep 60\n" });
      await until('the task runs', () => isRunning(agent, taskId));
      agent.assigned.delete(taskId);
      world.gateway.ring();
      await until('it is not reported', () => agent.reports.at(-1)?.tasks.length === 0);
      await until('its processes are gone', () => !hasProcess(machine, taskId));
      await until('its folder is gone', () => !existsSync(join(machine.state, 'tasks', `${taskId}.1`)));
      expect(exitOf(agent, taskId)).toBeNull();
    });

    test('a cordon is acknowledged at once and obeyed until it is lifted, while tasks run on', async () => {
      const { agent } = await world.startMachine(toolbox);
      const running = world.gateway.assign(agent, { ...PLAIN, script: 'sleep 60\n' });
      await until('the task runs', () => isRunning(agent, running));
      agent.cordon = { cordoned: true, generation: 3 };
      const refused = world.gateway.assign(agent, { ...PLAIN, script: 'true\n' });
      await until('the cordon is acknowledged', () => agent.reports.at(-1)?.cordon.cordoned === true);
      expect(agent.reports.at(-1)?.cordon.generation).toBe(3);
      const reports = agent.reports.length;
      await until('two more reports have come', () => agent.reports.length > reports + 1);
      expect(agent.reports.at(-1)?.tasks).toMatchObject([{ taskId: running, state: 'running' }]);
      agent.cordon = { cordoned: false, generation: 4 };
      world.gateway.ring();
      await until('the other task has run', () => exitOf(agent, refused) === 0);
    });

    test('progress is reported while the task runs, too long progress never', async () => {
      const { agent } = await world.startMachine(toolbox);
      const script = [
        'echo half >"$SPILLWAY_PROGRESS_FILE"',
        'until [ -e go ]; do sleep 0.05; done',
        'head -c 4000 /dev/zero >"$SPILLWAY_PROGRESS_FILE"',
        '',
      ].join('\n');
      const taskId = world.gateway.assign(agent, {
        ...PLAIN,
        script: script.replace('until [ -e go ]; do sleep 0.05; done', 'sleep 2'),
      });
      await until('the progress has arrived', () => agent.progress.get(taskId) === 'half\n');
      await until('the task has ended', () => exitOf(agent, taskId) === 0);
      expect(agent.progress.get(taskId)).toBe('half\n');
    });

    test('a long log arrives whole, and no more than the service keeps', async () => {
      const { machine, agent } = await world.startMachine(toolbox);
      const long = world.gateway.assign(agent, {
        ...PLAIN,
        script: 'i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i + 1)); done\n',
      });
      const expected = Array.from({ length: 20000 }, (_, index) => `line ${index}\n`).join('');
      await until('the log has arrived', () => world.logOf(long) === expected, { deadlineMs: 15_000 });
      world.gateway.logBytesMax = 100_000;
      const endless = world.gateway.assign(agent, {
        ...PLAIN,
        script: 'while :; do echo yes yes yes yes yes yes yes; done\n',
      });
      const file = join(machine.state, 'tasks', `${endless}.1`, 'full');
      await until('the service has had enough', () => existsSync(file));
      expect(world.logOf(endless).length).toBeLessThan(200_000);
      agent.assigned.delete(endless);
      world.gateway.ring();
      await until('it has ended', () => !hasProcess(machine, endless));
    });

    test('killed and started again, it keeps its identity and its tasks', async () => {
      const { machine, agent } = await world.startMachine(toolbox);
      const longRunning = world.gateway.assign(agent, { ...PLAIN, script: 'echo once\nsleep 60\n' });
      const ending = world.gateway.assign(agent, { ...PLAIN, script: 'echo twice\nsleep 1\nexit 7\n' });
      const dying = world.gateway.assign(agent, { ...PLAIN, script: 'sleep 60\n' });
      await until('all run', () => [longRunning, ending, dying].every((id) => isRunning(agent, id)));
      machine.signal('SIGKILL');
      await machine.exited();
      const boot = agent.reports.at(-1)!.bootId;
      const group = Number(readFileSync(join(machine.state, 'tasks', `${dying}.1`, 'pid'), 'utf8').split(' ')[0]);
      process.kill(-group, 'SIGKILL');
      await until('one has ended meanwhile', () => existsSync(join(machine.state, 'tasks', `${ending}.1`, 'code')));
      machine.start({ SPILLWAY_ENROL_TOKEN: '' });
      await until('both ends are known', () => exitOf(agent, ending) !== null && exitOf(agent, dying) !== null);
      expect([exitOf(agent, ending), exitOf(agent, dying)]).toEqual([7, 137]);
      expect(isRunning(agent, longRunning)).toBe(true);
      expect(agent.reports.at(-1)!.bootId).not.toBe(boot);
      expect(world.gateway.agents.size).toBe(1);
      await until(
        'the log has arrived',
        () => world.logOf(ending) === 'twice\n' && world.logOf(longRunning) === 'once\n',
      );
    });

    test('without an accepted report for two thirds of the lease it ends its tasks, and runs them again when asked', async () => {
      const { machine, agent } = await world.startMachine(toolbox);
      const taskId = world.gateway.assign(agent, { ...PLAIN, script: 'echo started\nsleep 60\n' });
      await until('the task runs', () => isRunning(agent, taskId));
      const startedMs = performance.now();
      // Taken and never answered: the worst kind of silence.
      let release = (): void => undefined;
      world.gateway.beforeHeartbeat = () => new Promise((resolve) => (release = resolve));
      await until('the task is gone', () => !hasProcess(machine, taskId));
      const silentMs = performance.now() - startedMs;
      // The last report may have been accepted up to one interval before the silence began.
      expect(silentMs).toBeGreaterThan(900);
      expect(silentMs).toBeLessThan(world.gateway.timing.leaseS * 1000 + 250);
      expect(machine.output).toContain('ending the tasks, they will run elsewhere');
      world.gateway.beforeHeartbeat = async () => undefined;
      release();
      await until('it runs again', () => hasProcess(machine, taskId), { deadlineMs: 15_000 });
    });

    test('a removed agent ends its tasks and exits with 3; with a fresh enrolment token it comes back', async () => {
      const { machine, agent } = await world.startMachine(toolbox);
      const taskId = world.gateway.assign(agent, { ...PLAIN, script: 'sleep 60\n' });
      await until('the task runs', () => isRunning(agent, taskId));
      agent.removed = true;
      world.gateway.ring();
      expect(await machine.exited()).toEqual({ code: 3, signal: null });
      expect(hasProcess(machine, taskId)).toBe(false);
      const fresh = `enrol-${randomIds.hex(16)}`;
      world.gateway.enrolments.set(hashToken(fresh), null);
      machine.start({ SPILLWAY_ENROL_TOKEN: fresh });
      await until(
        'it reports as another agent',
        () => (world.gateway.agent('host-1')?.reports.length ?? 0) > 0 && world.gateway.agents.size === 2,
      );
    });

    test('the older of two machines with one identity gives way with exit code 4', async () => {
      const { machine, agent } = await world.startMachine(toolbox);
      const last = agent.reports.at(-1)!;
      agent.reports.push({ ...last, bootId: '1f8b6a52-3d1c-4a57-9a39-0123456789ab', seq: 1 });
      expect(await machine.exited()).toEqual({ code: 4, signal: null });
    });

    test('a second agent on the same folder refuses to start, and USR2 leaves the tasks to the next one', async () => {
      const { machine, agent } = await world.startMachine(toolbox);
      const taskId = world.gateway.assign(agent, { ...PLAIN, script: 'sleep 60\n' });
      await until('the task runs', () => isRunning(agent, taskId));
      const second = world.machine(toolbox);
      second.start({ SPILLWAY_STATE_DIR: machine.state });
      expect(await second.exited()).toEqual({ code: 5, signal: null });
      machine.signal('SIGUSR2');
      expect(await machine.exited()).toEqual({ code: 0, signal: null });
      expect(hasProcess(machine, taskId)).toBe(true);
      machine.start();
      const reports = agent.reports.length;
      await until('the next one reports it', () => agent.reports.length > reports && isRunning(agent, taskId));
    });

    test.for([
      ['a setting it does not know', { SPILLWAY_COLOUR: 'blue' }, 'unknown setting SPILLWAY_COLOUR'],
      ['plain HTTP beyond loopback', { SPILLWAY_URL: 'http://10.0.0.1:7000' }, 'not loopback'],
      ['a command in place of a number', { SPILLWAY_CPUS: '1$(id)' }, 'whole numbers'],
      ['a relative folder', { SPILLWAY_STATE_DIR: 'state' }, 'absolute path'],
    ])('says what is wrong with %s', async (_what, settings, message) => {
      const machine = world.machine(toolbox);
      machine.start(settings);
      expect(await machine.exited()).toEqual({ code: 2, signal: null });
      await until('it has said so', () => machine.output.includes(message));
    });
  },
);
