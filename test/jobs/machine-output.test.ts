import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { onlyInstanceId, onlyMachine, readyInstance } from '../support/world-rows.ts';
import { World } from '../support/world.ts';

const said = async (world: World, id: MachineId) =>
  ((await world.stores.reports.readMachineLog(id, 0))?.items ?? []).map(
    ({ phase, exitCode, content }) => `${phase} ${String(exitCode)}: ${content}`,
  );

describe('what is said on a machine', () => {
  test('is kept when its join failed, with the console and without secrets', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy({ limits: { max: 1 } })] });
    world.hosts.manners.joinExit = 3;
    await world.submit(1, 10);
    await world.runUntil('it boots', async () => (await world.count('machines', 'booting')) === 1, 60_000);
    const { id } = await onlyMachine(world);
    const console = 'login:\u0000\u001b[31m\npostgres://ada:hunter2@db/x\n';
    world.region.writeConsole(await onlyInstanceId(world), console);
    await world.runUntil('it ended', async () => (await world.count('machines', 'terminated')) === 1, 600_000);
    expect(await said(world, id)).toEqual([
      'join 3: exit 3',
      'console null: login:[31m\npostgres://ada:[redacted]@db/x\n',
    ]);
  });

  test('names the hook that said it', async ({ pool }) => {
    const hooks = { beforeDrain: 'save', beforeTerminate: null };
    const world = await World.create(pool, { policies: [worldPolicy({ limits: { max: 1 }, drain: { hooks } })] });
    world.hosts.manners.exits.set('save', 9);
    await world.submit(1, 10);
    await readyInstance(world);
    const { id } = await onlyMachine(world);
    await world.runUntil('it is gone', async () => (await world.count('machines', 'terminated')) === 1, 600_000);
    expect(await said(world, id)).toEqual(['beforeDrain 9: exit 9']);
  });
});
