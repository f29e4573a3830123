// Goal and method as in spillway-agent.test.ts; here what goes wrong, on each shell.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import type { TaskId } from '../../src/model/ids.ts';
import { until } from '../support/wait.ts';
import type { AgentMachine } from './agent-process.ts';
import { exitOf, hasProcess, isRunning, PLAIN, SHELL_BOXES, test } from './world.ts';

/** A line of a task's script that waits for `goOn`. */
const WAIT = 'until [ -e go ]; do sleep 0.1; done\n';

function goOn(machine: AgentMachine, taskId: TaskId): void {
  writeFileSync(join(machine.state, 'tasks', `${taskId}.1`, 'work', 'go'), '');
}

describe.concurrent.each([...SHELL_BOXES])('on $shell', (toolbox) => {
  test('a task runs once however often it is ordered, and many at once all run', async ({ world, expect }) => {
    const { agent } = await world.startMachine(toolbox);
    const ids = Array.from({ length: 12 }, (_, index) =>
      world.gateway.assign(agent, { ...PLAIN, script: `echo ran\nexit ${index}\n` }),
    );
    await until('all have ended', () => ids.every((id) => exitOf(agent, id) !== null));
    expect(ids.map((id) => exitOf(agent, id))).toEqual(ids.map((_, index) => index));
    await until('all logs have arrived', () => ids.every((id) => world.logOf(id) === 'ran\n'));
  });

  test('a stopped task ends, also one that ignores SIGTERM, and is not reported', async ({ world, expect }) => {
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

  test('a cordon is acknowledged at once and obeyed until it is lifted, while tasks run on', async ({
    world,
    expect,
  }) => {
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

  test('progress is reported while the task runs, too long progress never', async ({ world, expect }) => {
    const { machine, agent } = await world.startMachine(toolbox);
    const script = `echo half >"$SPILLWAY_PROGRESS_FILE"\n${WAIT}head -c 4000 /dev/zero >"$SPILLWAY_PROGRESS_FILE"\n`;
    const taskId = world.gateway.assign(agent, { ...PLAIN, script });
    await until('the progress has arrived', () => agent.progress.get(taskId) === 'half\n');
    goOn(machine, taskId);
    await until('the task has ended', () => exitOf(agent, taskId) === 0);
    expect(agent.progress.get(taskId)).toBe('half\n');
  });

  test('a long log arrives whole, and no more than the service keeps', async ({ world, expect }) => {
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

  test('killed and started again, it keeps its identity and its tasks', async ({ world, expect }) => {
    // Longer than any start takes, so that the tasks are not fenced meanwhile.
    world.gateway.timing = { intervalS: 1, leaseS: 60 };
    const { machine, agent } = await world.startMachine(toolbox);
    const longRunning = world.gateway.assign(agent, { ...PLAIN, script: 'echo once\nsleep 60\n' });
    const ending = world.gateway.assign(agent, { ...PLAIN, script: `echo twice\n${WAIT}exit 7\n` });
    const dying = world.gateway.assign(agent, { ...PLAIN, script: 'sleep 60\n' });
    await until('all run', () => [longRunning, ending, dying].every((id) => isRunning(agent, id)));
    machine.signal('SIGKILL');
    await machine.exited();
    const boot = agent.reports.at(-1)!.bootId;
    const group = Number(readFileSync(join(machine.state, 'tasks', `${dying}.1`, 'pid'), 'utf8').split(' ')[0]);
    process.kill(-group, 'SIGKILL');
    goOn(machine, ending);
    await until('one has ended meanwhile', () => existsSync(join(machine.state, 'tasks', `${ending}.1`, 'code')));
    machine.start({ SPILLWAY_ENROL_TOKEN: '' });
    await until('the end is known', () => exitOf(agent, ending) !== null);
    expect(exitOf(agent, ending)).toBe(7);
    // Killed with its wrapper, it was interrupted: the agent says nothing of it, and the service gives it out anew.
    await until(
      'the interrupted one is forgotten',
      () => !agent.reports.at(-1)!.tasks.some((task) => task.taskId === dying),
    );
    expect(exitOf(agent, dying)).toBeNull();
    expect(isRunning(agent, longRunning)).toBe(true);
    expect(agent.reports.at(-1)!.bootId).not.toBe(boot);
    expect(world.gateway.agents.size).toBe(1);
    await until(
      'the log has arrived',
      () => world.logOf(ending) === 'twice\n' && world.logOf(longRunning) === 'once\n',
    );
  });

  test(
    'without an accepted report for two thirds of the lease it ends its tasks, and runs them again when asked',
    { timeout: 40_000 },
    async ({ world, expect }) => {
      world.gateway.timing = { intervalS: 1, leaseS: 6 };
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
      expect(silentMs).toBeGreaterThan(2500);
      expect(silentMs).toBeLessThan(world.gateway.timing.leaseS * 1000);
      await until('it has said why', () => machine.output.includes('ending the tasks, they will run elsewhere'));
      world.gateway.beforeHeartbeat = async () => undefined;
      release();
      await until('it runs again', () => hasProcess(machine, taskId), { deadlineMs: 15_000 });
    },
  );

  test(
    'an exit that it cannot tell is told again at least eight times per lease, so that the task does not run anew',
    { timeout: 60_000 },
    async ({ world, expect }) => {
      world.gateway.timing = { intervalS: 1, leaseS: 8 };
      const { machine, agent } = await world.startMachine(toolbox);
      const taskId = world.gateway.assign(agent, { ...PLAIN, script: WAIT });
      await until('the task runs', () => isRunning(agent, taskId));
      const calls = await world.cutEveryCall();
      goOn(machine, taskId);
      // Twelve steps of the usual back-off, 1 to 16 s, would take two minutes.
      await until('it has asked often', () => calls() >= 12, { deadlineMs: 45_000 });
      await world.hangUp();
      await world.listen();
      await until('the exit is told', () => exitOf(agent, taskId) === 0);
      expect(machine.processes()).not.toEqual([]);
    },
  );

  test('a removed agent ends its tasks and exits with 3; with a fresh enrolment token it comes back', async ({
    world,
    expect,
  }) => {
    const { machine, agent } = await world.startMachine(toolbox);
    const taskId = world.gateway.assign(agent, { ...PLAIN, script: 'sleep 60\n' });
    await until('the task runs', () => isRunning(agent, taskId));
    agent.removed = true;
    world.gateway.ring();
    expect(await machine.exited()).toEqual({ code: 3, signal: null });
    expect(hasProcess(machine, taskId)).toBe(false);
    const fresh = world.enrolment();
    machine.start({ SPILLWAY_ENROL_TOKEN: fresh });
    await until(
      'it reports as another agent',
      () => (world.gateway.agent('host-1')?.reports.length ?? 0) > 0 && world.gateway.agents.size === 2,
    );
  });

  test('the older of two machines with one identity gives way with exit code 4', async ({ world, expect }) => {
    const { machine, agent } = await world.startMachine(toolbox);
    const last = agent.reports.at(-1)!;
    agent.reports.push({ ...last, bootId: '1f8b6a52-3d1c-4a57-9a39-0123456789ab', seq: 1 });
    expect(await machine.exited()).toEqual({ code: 4, signal: null });
  });

  test('a second agent on the same folder refuses to start, and USR2 leaves the tasks to the next one', async ({
    world,
    expect,
  }) => {
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

  test.for<[what: string, settings: Record<string, string>, message: string]>([
    ['a setting it does not know', { SPILLWAY_COLOUR: 'blue' }, 'unknown setting SPILLWAY_COLOUR'],
    ['plain HTTP beyond loopback', { SPILLWAY_URL: 'http://10.0.0.1:7000' }, 'not loopback'],
    ['a part of a GPU', { SPILLWAY_GPUS: '0.5' }, 'whole number'],
    ['an architecture of nobody', { SPILLWAY_ARCH: 'mips' }, 'x86_64 or arm64'],
    ['a command in place of a number', { SPILLWAY_CPUS: '1$(id)' }, 'whole numbers'],
    ['a relative folder', { SPILLWAY_STATE_DIR: 'state' }, 'absolute path'],
  ])('says what is wrong with %s', async ([_what, settings, message], { world, expect }) => {
    const machine = world.machine(toolbox);
    machine.start(settings);
    expect(await machine.exited()).toEqual({ code: 2, signal: null });
    await until('it has said so', () => machine.output.includes(message));
  });
});
