// Goal: a task has its GPUs to itself, on every shell.
// Method: the real script, told that it has GPUs; tasks write which they were given and end when their test says so.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import type { TaskId } from '../../src/model/ids.ts';
import { until } from '../support/wait.ts';
import { exitOf, isRunning, PLAIN, SHELL_BOXES, test } from './world.ts';

/** Tells its devices, and ends when the file is there. */
const untilFile = (file: string): string =>
  `echo "gpus=\${CUDA_VISIBLE_DEVICES-none}"\nwhile [ ! -e '${file}' ]; do sleep 0.05; done\n`;

describe.concurrent.each([...SHELL_BOXES])('on $shell', (toolbox) => {
  test('tasks get devices that no other has, those beyond wait, and work without GPU need gets none', async ({
    world,
    expect,
  }) => {
    const { machine, agent } = await world.startMachine(toolbox, { SPILLWAY_GPUS: '3', SPILLWAY_ARCH: 'arm64' });
    expect(agent.registration).toMatchObject({ capacity: { cpuMilli: 4000, gpus: 3 }, arch: 'arm64' });
    expect(agent.reports[0]).toMatchObject({ capacity: { gpus: 3 }, arch: 'arm64' });
    const end = (name: string): string => join(machine.folder, name);
    const said = async (taskId: TaskId): Promise<string> =>
      await until('it has said what it has', () => world.logOf(taskId).trim() || null);

    const two = world.gateway.assign(agent, { ...PLAIN, gpus: 2, script: untilFile(end('two')) });
    expect(await said(two)).toBe('gpus=0,1');
    const one = world.gateway.assign(agent, { ...PLAIN, gpus: 1, script: untilFile(end('one')) });
    expect(await said(one)).toBe('gpus=2');
    const late = world.gateway.assign(agent, { ...PLAIN, gpus: 1, script: untilFile(end('late')) });
    const plain = world.gateway.assign(agent, { progressBase64: 'AAAA', script: untilFile(end('plain')) });
    expect(await said(plain)).toBe('gpus=none');
    // The same answer that started the plain one had this one, too.
    expect(isRunning(agent, late)).toBe(false);

    writeFileSync(end('two'), '');
    await until('the first has ended', () => exitOf(agent, two) === 0);
    expect(await said(late)).toBe('gpus=0');
    for (const name of ['one', 'late', 'plain']) writeFileSync(end(name), '');
    await until('all have ended', () => [one, late, plain].every((taskId) => exitOf(agent, taskId) === 0));
  });

  test('a task that was told to end keeps its devices to its last moment', async ({ world, expect }) => {
    const { machine, agent } = await world.startMachine(toolbox, { SPILLWAY_GPUS: '1' });
    const file = join(machine.folder, 'still-there');
    // Deaf to SIGTERM: it lives until it is killed.
    const script = `trap : TERM\nwhile :; do echo "$CUDA_VISIBLE_DEVICES" >'${file}'; sleep 0.05; done\n`;
    const stopped = world.gateway.assign(agent, { ...PLAIN, gpus: 1, script });
    await until('it runs', () => existsSync(file));
    agent.assigned.delete(stopped);
    // Had it started beside the other, the file would be there again.
    const check = `rm '${file}'\nsleep 0.3\n[ ! -e '${file}' ] && echo "alone with $CUDA_VISIBLE_DEVICES"\n`;
    const next = world.gateway.assign(agent, { ...PLAIN, gpus: 1, script: check });

    await until('the next is done', () => exitOf(agent, next) !== null);
    await until('its log has arrived', () => world.logOf(next) !== '' || exitOf(agent, next) !== 0);
    expect(world.logOf(next)).toBe('alone with 0\n');
  });
});
