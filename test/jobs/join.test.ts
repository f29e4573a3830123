import { describe, expect } from 'vitest';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { endReasons, onlyInstanceId, onlyMachine, readyInstance } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';

/** One machine at a time, so that a test sees one life. */
const ONE = { limits: { max: 1 } } as const;

async function untilFirstEnd(world: World, withinMs = 1_800_000): Promise<string | null> {
  await world.runUntil('a machine has ended', async () => (await world.count('machines', 'terminated')) > 0, withinMs);
  return (await endReasons(world.db))[0] ?? null;
}

describe('joining', () => {
  test('brings agent, recipe and a one-time token, and nothing secret stays behind', async ({ pool }) => {
    const files = ['/etc/common.sh', '/opt/drain.sh'];
    const policy = worldPolicy({ ...ONE, recipe: { script: '/etc/recipe.sh', files, env: { POOL: 'media' } } });
    const world = await World.create(pool, { policies: [policy] });
    await world.submit(1, 600);
    const instanceId = await readyInstance(world);
    expect(world.hosts.fileOn(instanceId, '.spillway/recipe.sh')).toBe('# /etc/recipe.sh\n');
    expect(world.hosts.fileOn(instanceId, '.spillway/recipe.env')).toBe('{"POOL":"media"}');
    expect(world.hosts.fileOn(instanceId, '.spillway/recipe/common.sh')).toBe('# /etc/common.sh\n');
    expect(world.hosts.fileOn(instanceId, '.spillway/recipe/drain.sh')).toBe('# /opt/drain.sh\n');
    const rows = await world.db.selectFrom('enrolments').select(['token_hash', 'used_at']).execute();
    expect(rows).toHaveLength(1);
    expect(rows[0]?.used_at).not.toBeNull();
    expect(JSON.stringify(await world.db.selectFrom('machine_events').selectAll().execute())).not.toMatch(
      /ENROL|PRIVATE/,
    );
  });

  /** What the agent of the first machine was told; the join fails at once, so that nobody has taken the file away. */
  async function agentSettings(world: World): Promise<readonly string[]> {
    world.hosts.manners.joinExit = 3;
    await world.submit(1, 600);
    await untilFirstEnd(world);
    const [first] = world.truth.instances();
    return world.hosts.fileOn(first?.instanceId ?? '', '.spillway/agent.settings')?.split('\n') ?? [];
  }

  test.for([
    ['by default', {}, ['SPILLWAY_DEADMAN_S=3600', 'SPILLWAY_DEADMAN_TASKS=0']],
    [
      'as the policy says',
      { deadMan: { afterMs: 900_000, whileTasksRun: true } },
      ['SPILLWAY_DEADMAN_S=900', 'SPILLWAY_DEADMAN_TASKS=1'],
    ],
    ['never', { deadMan: null }, []],
  ] as const)('tells the agent when to give up its machine, %s', async ([, join, expected], { pool }) => {
    const policy = worldPolicy(ONE);
    const world = await World.create(pool, { policies: [{ ...policy, join: { ...policy.join, ...join } }] });
    const settings = await agentSettings(world);
    expect(settings.filter((line) => line.startsWith('SPILLWAY_DEADMAN'))).toEqual(expected);
  });

  test('lets no agent ask for notices of EC2 on a machine that EC2 never takes back', async ({ pool }) => {
    // That it does on a spot machine is shown where such a machine is interrupted.
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    const settings = await agentSettings(world);
    expect(settings).toContainEqual(expect.stringMatching(/^SPILLWAY_NAME=mc-/));
    expect(settings.filter((line) => line.startsWith('SPILLWAY_IMDS'))).toEqual([]);
  });

  test('is tried again on the same machine when the recipe says not now', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    // EX_TEMPFAIL of sysexits.h
    world.hosts.manners.joinExit = 75;
    await world.submit(1, 10);
    await world.run(120_000);
    const { id, state } = await onlyMachine(world);
    expect(state).toBe('joining');
    world.hosts.manners.joinExit = 0;
    await readyInstance(world);
    expect((await onlyMachine(world)).id).toBe(id);
  });

  test('ends at once, and is never tried again, with a host that proves another key', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    world.hosts.manners.foreignKey = true;
    await world.submit(1, 10);
    expect(await untilFirstEnd(world)).toBe('join-failed');
    const [first] = world.truth.instances();
    expect(world.hosts.commandsOn(first?.instanceId ?? '')).toEqual([]);
    const tries = world.log.lines.filter(
      ({ message, details }) => message === 'join did not succeed' && details['code'] === 'SSH_HOST_KEY',
    );
    const machines = new Set(tries.map(({ details }) => details['machineId']));
    expect(tries.length).toBe(machines.size);
  });

  test('ends when the recipe fails, and says how', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    world.hosts.manners.joinExit = 3;
    await world.submit(1, 10);
    expect(await untilFirstEnd(world)).toBe('join-failed');
    const event = await world.db
      .selectFrom('machine_events')
      .select('detail')
      .where('to_state', '=', 'terminating')
      .executeTakeFirstOrThrow();
    expect(event.detail).toMatchObject({ exitCode: 3, output: 'exit 3' });
  });

  test('is tried again while the host refuses log-ins, and succeeds when it stops refusing', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    world.hosts.manners.loginFails = 'SSH_UNREACHABLE';
    await world.submit(1, 10);
    await world.run(120_000);
    expect((await onlyMachine(world)).state).toBe('joining');
    world.hosts.manners.loginFails = null;
    await readyInstance(world);
  });

  test('installs a silent agent anew every half minute and ends at its deadline', async ({ pool }) => {
    const policy = worldPolicy({ ...ONE, ready: { deadlineMs: 120_000 } });
    const world = await World.create(pool, { policies: [policy] });
    world.hosts.manners.agentMute = true;
    await world.submit(1, 10);
    expect(await untilFirstEnd(world, 300_000)).toBe('join-deadline');
    const joins = world.hosts.commandsOn(world.truth.instances()[0]?.instanceId ?? '');
    expect(joins.length).toBeGreaterThanOrEqual(3);
    expect(joins.length).toBeLessThanOrEqual(5);
  });

  test('waits for the readiness command', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy({ ...ONE, ready: { command: 'is-up' } })] });
    world.hosts.manners.exits.set('is-up', 1);
    await world.submit(1, 10);
    await world.run(60_000);
    expect((await onlyMachine(world)).state).toBe('joining');
    expect(await world.count('tasks', 'pending')).toBe(1);
    world.hosts.manners.exits.delete('is-up');
    const instanceId = await readyInstance(world);
    expect(world.hosts.commandsOn(instanceId).filter((command) => command === '(join)')).toHaveLength(1);
  });
});

describe('what a machine on its way waits for', () => {
  async function addressOf(world: World): Promise<string> {
    let address: string | null = null;
    await world.runUntil('EC2 tells its address', async () => {
      const machine = await onlyMachine(world);
      address = 'privateIp' in machine ? machine.privateIp : null;
      return address !== null;
    });
    return address ?? '';
  }

  const shown = async (world: World) =>
    (await world.stores.reports.showMachine((await onlyMachine(world)).id))?.waitsFor;

  test('is told from one step to the next, with the time since when, and no more once it is ready', async ({
    pool,
  }) => {
    const world = await World.create(pool, {
      policies: [worldPolicy({ ...ONE, ready: { command: 'is-up' } })],
      ...CALM,
    });
    const { manners } = world.hosts;
    const told = async (says: string): Promise<string> => {
      await world.runUntil(`it waits for ${says}`, async () => (await shown(world))?.says === says, 120_000);
      return (await shown(world))!.since;
    };
    manners.closed = true;
    manners.noTurn = true;
    manners.agentMute = true;
    manners.exits.set('is-up', 1);
    await world.submit(1, 10);
    await world.runUntil('it boots', async () => (await world.count('machines', 'booting')) === 1);
    const host = await addressOf(world);
    const since = await told(`port 22 of ${host} to open, which is its SSH port`);
    await world.run(60_000);
    expect((await shown(world))?.since).toBe(since);

    manners.closed = false;
    expect(Date.parse(await told('its turn among the SSH sessions, which are all taken'))).toBeGreaterThan(
      Date.parse(since) + 60_000,
    );
    manners.noTurn = false;
    manners.loginFails = 'SSH_AUTH';
    await told(`an SSH session that works (SSH_AUTH: no session with ${host})`);
    manners.loginFails = null;
    manners.joinExit = 75;
    await told('another join on it to end, or its recipe to pass (exit code 75)');
    manners.joinExit = 0;
    await told('the first report of its agent, which was started');
    manners.agentMute = false;
    await told('its ready command to pass');
    manners.exits.delete('is-up');
    await readyInstance(world);
    expect(await shown(world)).toBeNull();
  });

  test('is not kept from one visit to the next when the next does not say it', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)], ...CALM });
    world.hosts.manners.noTurn = true;
    await world.submit(1, 10);
    await world.runUntil('it waits', async () => (await world.count('machines', 'joining')) === 1);
    await world.runUntil('it says so', async () => (await shown(world))?.says.startsWith('its turn') === true);
    const { id } = await onlyMachine(world);
    await world.stores.machines.wakeAfter(id, 60_000);
    expect(await shown(world)).toBeNull();
  });
});

describe('booting', () => {
  test('ends at its deadline when SSH never answers', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)], ...CALM });
    world.hosts.manners.closed = true;
    await world.submit(1, 10);
    await world.run(590_000);
    expect((await onlyMachine(world)).state).toBe('booting');
    expect(await untilFirstEnd(world)).toBe('boot-deadline');
  });

  test('ends when the instance fails to start, and another one is launched', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    world.region.faults.failStart('Server.InternalError');
    await world.submit(1, 10);
    expect(await untilFirstEnd(world)).toBe('instance-gone');
    await world.runUntil('the task is done', async () => (await world.count('tasks', 'done')) === 1, 600_000);
  });

  test('waits for a listing to tell the address where the launch did not', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    await world.submit(1, 10);
    await world.runUntil('it boots', async () => (await world.count('machines', 'booting')) === 1, 60_000);
    await world.db.updateTable('machines').set({ private_ip: null }).execute();
    await readyInstance(world);
    expect(await onlyInstanceId(world)).toMatch(/^i-/);
  });
});
