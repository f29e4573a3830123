/** `machine protect`, `unprotect`, `drain`, `undrain` and `terminate`, by the real command line against a real service. */
import { describe } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import type { OperatorActions } from '../../src/ports/operator.ts';
import { aMachine } from '../support/builders.ts';
import { operatorActionsOf } from '../support/operator-actions.ts';
import { World } from '../support/world.ts';
import { test as base } from './spillway.ts';

const test = base.extend<{ world: World; actions: Partial<OperatorActions>; ready: MachineId }>({
  world: async ({ pool }, use) => use(await World.create(pool)),
  actions: async ({ world }, use) => {
    const { orderMachine } = operatorActionsOf(world);
    await use({ orderMachine });
  },
  ready: async ({ world }, use) => use((await aMachine(world.db, 'ready')).id),
});

const UNKNOWN = 'mc-zzzzzzzzzzzz';

describe('machine protect', () => {
  test('is told by show, list and explain until it is taken back', async ({ service, ready, expect }) => {
    const run = await service.run('machine', 'protect', ready, '--for', '2h', '--reason', 'its cache is warm');
    expect(run).toEqual({ exitCode: 0, stdout: `machine ${ready} is protected\n`, stderr: '' });
    const shown = await service.run('machine', 'show', ready);
    expect(shown.stdout).toMatch(/^Protected +by \S+ until \S+Z: its cache is warm$/m);
    const { protection } = JSON.parse((await service.run('machine', 'show', ready, '-o', 'json')).stdout) as {
      protection: object;
    };
    expect(protection).toMatchObject({ by: 'operator', reason: 'its cache is warm' });
    expect((await service.run('machine', 'list', '-o', 'wide')).stdout).toMatch(/PROTECTED.*\n.*its cache is warm/);
    expect((await service.run('machine', 'unprotect', ready)).stdout).toBe(`machine ${ready} may go again\n`);
    expect((await service.run('machine', 'show', ready)).stdout).not.toContain('Protected');
  });

  test('keeps a drain away with exit code 5 and says how to go on', async ({ service, ready, expect }) => {
    await service.run('machine', 'protect', ready);
    const run = await service.run('machine', 'drain', ready);
    expect(run).toMatchObject({ exitCode: 5, stdout: '' });
    expect(run.stderr).toContain(`machine ${ready} (ready): drain is refused, because it is protected`);
    expect(run.stderr).toContain(`spillway machine unprotect ${ready}`);
  });

  test.for([['0s'], ['soon']])('refuses --for %s as a slip of the keyboard', async ([text], { service, expect }) => {
    const run = await service.run('machine', 'protect', UNKNOWN, `--for=${text}`);
    expect(run).toMatchObject({ exitCode: 2, stdout: '' });
    expect(run.stderr).toContain('--for');
  });
});

describe('machine drain', () => {
  test('asks each machine, and ends with the first refusal', async ({ service, ready, world, expect }) => {
    const run = await service.run('machine', 'drain', UNKNOWN, ready, '--reason', 'rack move');
    expect(run).toMatchObject({ exitCode: 3, stdout: `machine ${ready} drains\n` });
    expect(run.stderr).toContain(`there is no machine ${UNKNOWN}`);
    const shown = await world.stores.reports.showMachine(ready);
    expect(shown?.events.at(-1)).toMatchObject({
      actor: 'operator',
      reason: 'operator',
      detail: { reason: 'rack move' },
    });
    expect((await service.run('machine', 'undrain', ready)).stdout).toBe(`machine ${ready} takes work again\n`);
    expect((await service.run('machine', 'undrain', ready)).stdout).toBe(
      `machine ${ready}: nothing to do, it is ready\n`,
    );
  });

  test('gives receipts to scripts, and exit code 8 when it may wait no longer', async ({ service, ready, expect }) => {
    const run = await service.run('machine', 'drain', ready, '--wait', '--timeout', '1s', '-o', 'json');
    expect(run.exitCode).toBe(8);
    expect(JSON.parse(run.stdout)).toMatchObject({
      kind: 'MachineOrderList',
      items: [{ id: ready, order: 'drain', changed: true, state: 'draining' }],
    });
    expect(run.stderr).toContain('its agent has not said that it takes no new tasks');
    expect(run.stderr).toContain(`still on their way: ${ready}`);
  });
});

describe('machine logs', () => {
  test('prints each piece under a line with its time, phase and exit code', async ({
    service,
    ready,
    world,
    expect,
  }) => {
    await world.stores.machines.keepOutput(ready, { phase: 'join', exitCode: 1, content: 'no such package\n' });
    const run = await service.run('machine', 'logs', ready);
    expect(run).toMatchObject({ exitCode: 0, stderr: '' });
    expect(run.stdout).toMatch(/^--- \S+Z join, exit code 1\nno such package\n$/);
    expect(await service.run('machine', 'logs', UNKNOWN)).toMatchObject({ exitCode: 3, stdout: '' });
  });
});

describe('machine terminate', () => {
  test('needs --force where work may run, and a yes that no script gives by chance', async ({
    service,
    ready,
    expect,
  }) => {
    const gentle = await service.run('machine', 'terminate', ready);
    expect(gentle).toMatchObject({ exitCode: 5, stdout: '' });
    expect(gentle.stderr).toContain(`spillway machine drain ${ready}`);
    const unasked = await service.run('machine', 'terminate', ready, '--force');
    expect(unasked).toMatchObject({ exitCode: 2, stdout: '' });
    expect(unasked.stderr).toContain('add --yes');
    const run = await service.run('machine', 'terminate', ready, '--force', '--yes');
    expect(run).toMatchObject({ exitCode: 0, stdout: `machine ${ready} is ended\n` });
  });
});
