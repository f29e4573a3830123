// Goal: the agent keeps its promises on every shell and client it claims to run on.
// Method: the real script, on a PATH that holds nothing but what it asks for, against the real HTTP interface with a
// gateway in memory. Long polls and signals make
// everything immediate; where a report has to be due, the service says 1 s for the interval.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import { hashToken } from '../../src/server/agent-api/credentials.ts';
import { makeSelfSigned } from '../support/certificate.ts';
import { until } from '../support/wait.ts';
import { allProcesses, makeTrusted, trustMissing } from './agent-process.ts';
import { exitOf, isRunning, listToolboxes, PLAIN, test } from './world.ts';

const NO_TRUST = trustMissing() !== null;

describe.concurrent.each([...listToolboxes()])('on $shell with $client', (toolbox) => {
  test('an agent registers, runs tasks, tells how they ended and what they said, and leaves', async ({
    world,
    expect,
  }) => {
    // Nothing here may wait for a report to be due: that would take longer than any of the deadlines below.
    world.gateway.timing = { intervalS: 30, leaseS: 90 };
    const { machine, agent } = await world.startMachine(toolbox);
    expect(agent.registration).toMatchObject({
      capacity: { cpuMilli: 4000, memoryMib: 2048, gpus: 0 },
      // `uname -m` of where the tests run.
      arch: process.arch === 'x64' ? 'x86_64' : process.arch,
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
    await until('the exit is recorded', () => exitOf(agent, taskId) !== null);
    expect(exitOf(agent, taskId)).toBe(5);
    expect(agent.progress.get(taskId)).toBe('step 7\nof 9');
    const said = `${taskId} 2 step 3\ncomplaint\ntoken=\n`;
    await until('the log has arrived', () => world.logOf(taskId, 2) === said);

    agent.leave = true;
    world.gateway.ring();
    expect(await machine.exited()).toEqual({ code: 0, signal: null });
    expect(agent.reports.at(-1)).toMatchObject({ leaving: true, tasks: [] });
    expect(machine.processes()).toEqual([]);
    expect(readdirSync(join(machine.state, 'tasks'))).toEqual([]);
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

  test('without work for a while it keeps no client waiting, and with work it does again', async ({
    world,
    expect,
  }) => {
    const { gateway } = world;
    const { agent } = await world.startMachine(toolbox, { SPILLWAY_HOLD_S: '2' });
    await until('its client waits for an answer', () => gateway.waiting > 0);
    let since = gateway.heartbeats;
    await until('three reports in a row waited for nothing', () => {
      if (gateway.waiting > 0) since = gateway.heartbeats;
      return gateway.heartbeats >= since + 3;
    });
    const taskId = gateway.assign(agent, { ...PLAIN, script: 'exit 0\n' });
    await until('the next report brought the task', () => exitOf(agent, taskId) === 0);
    await until('its client waits again', () => gateway.waiting > 0);
    expect(agent.reports.at(-1)).toMatchObject({ tasks: [] });
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

  test('it tells its token to nobody whom its CA does not vouch for', async ({ world, expect }) => {
    const [ours, others] = [makeSelfSigned('spillway'), makeSelfSigned('somebody else')];
    const [service, impostor] = [await world.listenOnTls(ours), await world.listenOnTls(others)];
    const machine = world.machine(toolbox);
    const file = join(machine.folder, 'ca.pem');
    writeFileSync(file, ours.certificatePem);
    machine.start({ SPILLWAY_CA_FILE: file, SPILLWAY_URL: impostor.url });
    await until('it has turned away twice', () => impostor.refused() > 1);
    expect(world.gateway.agents.size).toBe(0);
    machine.signal('SIGTERM');
    await machine.exited();

    machine.start({ SPILLWAY_URL: service.url });
    await until('it reports', () => (world.gateway.agent('host-1')?.reports.length ?? 0) > 0);
    expect(service.refused()).toBe(0);
  });

  test.skipIf(NO_TRUST)('a CA that the machine believes does not vouch for its service', async ({ world, expect }) => {
    const [ours, others] = [makeSelfSigned('spillway'), makeSelfSigned('somebody else')];
    const impostor = await world.listenOnTls(others);
    const machine = world.machine(toolbox);
    const file = join(machine.folder, 'ca.pem');
    writeFileSync(file, ours.certificatePem);
    const trusted = makeTrusted(machine.folder, others.certificatePem);
    machine.start({ SPILLWAY_CA_FILE: file, SPILLWAY_URL: impostor.url }, trusted);
    await until('it has turned away twice', () => impostor.refused() > 1);
    expect(world.gateway.agents.size).toBe(0);
    machine.signal('SIGTERM');
    await machine.exited();

    // Without a CA of its own it believes what its machine does.
    machine.start({ SPILLWAY_CA_FILE: '' }, trusted);
    await until('it reports', () => (world.gateway.agent('host-1')?.reports.length ?? 0) > 0);
  });
});
