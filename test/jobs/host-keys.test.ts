import { createHash } from 'node:crypto';
import { describe, expect } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import { showMachine } from '../../src/store/reports-machines.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { endReasons, onlyMachine, readyInstance } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';

const ONE = { limits: { max: 1 } } as const;

async function pinnedKey(world: World): Promise<{ key: string | null; confirmed: boolean }> {
  const row = await world.db
    .selectFrom('machines')
    .select(['host_key', 'host_key_confirmed_at'])
    .orderBy('created_at')
    .executeTakeFirstOrThrow();
  return { key: row.host_key, confirmed: row.host_key_confirmed_at !== null };
}

async function eventReasons(world: World): Promise<string[]> {
  const rows = await world.db.selectFrom('machine_events').select('reason').orderBy('id').execute();
  return rows.map(({ reason }) => reason);
}

async function untilFirstEnd(world: World, withinMs = 1_800_000): Promise<string | null> {
  await world.runUntil('a machine has ended', async () => (await world.count('machines', 'terminated')) > 0, withinMs);
  return (await endReasons(world.db))[0] ?? null;
}

describe('the host key of a machine', () => {
  test('is its own and pinned by the time it is ready; the injected one proves nothing any more', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    await world.submit(1, 600);
    const instanceId = await readyInstance(world);
    const { key, confirmed } = await pinnedKey(world);
    expect(confirmed).toBe(true);
    expect(world.hosts.proves(instanceId, key ?? '')).toBe(true);
    const { nonce } = await world.db.selectFrom('launches').select('nonce').executeTakeFirstOrThrow();
    expect(world.hosts.proves(instanceId, world.process.steps.credentials.hostPublicKey(nonce))).toBe(false);
    const reasons = await eventReasons(world);
    expect(reasons.filter((reason) => reason.startsWith('host-key'))).toEqual([
      'host-key-pinned',
      'host-key-confirmed',
    ]);
  });

  test('is what hooks believe, long after the join', async ({ pool }) => {
    const policy = worldPolicy({ ...ONE, drain: { hooks: { beforeDrain: 'save', beforeTerminate: null } } });
    const world = await World.create(pool, { ...CALM, policies: [policy] });
    await world.submit(1, 10);
    const instanceId = await readyInstance(world);
    await untilFirstEnd(world, 3_600_000);
    expect(world.hosts.commandsOn(instanceId)).toContain('save');
  });

  test('that the machine cannot make ends it with what it said, and no agent was sent there', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    world.hosts.manners.rotateExit = 77;
    await world.submit(1, 10);
    expect(await untilFirstEnd(world)).toBe('join-failed');
    const [first] = world.truth.instances();
    expect(world.hosts.fileOn(first?.instanceId ?? '', '.spillway/agent.settings')).toBeUndefined();
    const event = await world.db
      .selectFrom('machine_events')
      .select('detail')
      .where('to_state', '=', 'terminating')
      .executeTakeFirstOrThrow();
    expect(event.detail).toMatchObject({ step: 'host key', exitCode: 77, output: 'exit 77' });
  });

  test('that cannot be made now is tried again until the deadline', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)], ...CALM });
    world.hosts.manners.rotateExit = 1;
    await world.submit(1, 10);
    await world.run(120_000);
    expect((await onlyMachine(world)).state).toBe('joining');
    world.hosts.manners.rotateExit = 0;
    await readyInstance(world);
  });

  test('pinned by another delivery of the step is no wrong key', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)], ...CALM });
    const { steps } = world.process;
    const { machines } = steps;
    let stale: Awaited<ReturnType<typeof machines.read>> = null;
    let isFirst = true;
    // One delivery reads the row before another one pins, and logs in after the machine took the new key up.
    const read: typeof machines.read = async (id) => {
      const record = await machines.read(id);
      if (record?.machine.state !== 'joining') return record;
      stale ??= record.hostKey === null ? record : null;
      if (record.hostKey?.confirmed === true && isFirst && record.installedAtMs === null) {
        isFirst = false;
        return stale;
      }
      return record;
    };
    let joins = 0;
    const shell: typeof steps.shell = {
      ...steps.shell,
      isOpen: async (route, deadlineMs) => await steps.shell.isOpen(route, deadlineMs),
      withSession: async (target, deadlineMs, use) =>
        await steps.shell.withSession(target, deadlineMs, async (session) => {
          joins += 1;
          const result = await use(session);
          // The first two sessions pin and confirm; the install that comes with the second is lost.
          if (joins === 2) throw new AppError('SSH_UNREACHABLE', 'the answer is lost', { remedy: 'none' });
          return result;
        }),
    };
    world.process = { ...world.process, steps: { ...steps, machines: { ...machines, read }, shell } };
    await world.submit(1, 600);
    await readyInstance(world);
    expect(isFirst).toBe(false);
    expect(await world.count('machines', 'terminated')).toBe(0);
  });
});

test('the pinned host key is shown as ssh-keygen prints it, and is no reason of a state', async ({ pool }) => {
  const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
  await world.submit(1, 600);
  await readyInstance(world);
  const { id } = await onlyMachine(world);
  const { key } = await pinnedKey(world);
  const blob = Buffer.from(key?.split(' ')[1] ?? '', 'base64');
  const shown = await showMachine(world.db, id);
  const fingerprint = `SHA256:${createHash('sha256').update(blob).digest('base64').replace('=', '')}`;
  expect(shown?.hostKey).toEqual({ fingerprint, confirmed: true });
  expect(shown?.reason).toBe('agent-reported');
});

test('a jump host that proves another key ends the machine; one that refuses us is tried again', async ({ pool }) => {
  const world = await World.create(pool, { policies: [worldPolicy(ONE)], ...CALM });
  const { steps } = world.process;
  let code: 'SSH_AUTH' | 'SSH_HOST_KEY' = 'SSH_AUTH';
  const isOpen = async (): Promise<boolean> => {
    throw new AppError(code, 'the jump host', { remedy: 'none' });
  };
  world.process = { ...world.process, steps: { ...steps, shell: { ...steps.shell, isOpen } } };
  await world.submit(1, 10);
  await world.run(120_000);
  expect((await onlyMachine(world)).state).toBe('booting');
  code = 'SSH_HOST_KEY';
  expect(await untilFirstEnd(world)).toBe('join-failed');
});

describe('hostKey: console', () => {
  const CONSOLE = { ...ONE, ssh: { hostKey: 'console' as const } };

  async function untilJoining(world: World): Promise<string> {
    await world.submit(1, 600);
    await world.runUntil('it joins', async () => (await world.count('machines', 'joining')) === 1, 600_000);
    return world.truth.instances()[0]?.instanceId ?? '';
  }

  function show(world: World, instanceId: string, key: string): void {
    const lines = ['-----BEGIN SSH HOST KEY KEYS-----', `${key} root@ip`, '-----END SSH HOST KEY KEYS-----'];
    world.region.writeConsole(instanceId, lines.join('\r\n'));
  }

  test('nothing is injected; the machine waits for its console, and what that says is pinned', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(CONSOLE)], ...CALM });
    const instanceId = await untilJoining(world);
    const { userData } = world.region.findInstance(instanceId)!;
    expect(Buffer.from(userData ?? '', 'base64').toString()).not.toContain('ssh_keys');
    await world.run(60_000);
    const { id, state } = await onlyMachine(world);
    expect(state).toBe('joining');
    const shown = await world.stores.reports.showMachine(id);
    expect(shown?.waitsFor?.says).toBe('the host key on the console');
    const own = world.hosts.ownKey(instanceId);
    show(world, instanceId, own);
    await readyInstance(world);
    expect(await pinnedKey(world)).toEqual({ key: own, confirmed: true });
  });

  test('a host that proves another key than its console says is refused, and the machine ended', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(CONSOLE)], ...CALM });
    const instanceId = await untilJoining(world);
    show(world, instanceId, `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}`);
    expect(await untilFirstEnd(world)).toBe('join-failed');
    expect(world.hosts.commandsOn(instanceId)).toEqual([]);
    expect(world.log.lines.some(({ level, details }) => level === 'error' && details['code'] === 'SSH_HOST_KEY')).toBe(
      true,
    );
  });

  test('a console with two different keys is not believed', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(CONSOLE)], ...CALM });
    const instanceId = await untilJoining(world);
    const own = world.hosts.ownKey(instanceId);
    show(world, instanceId, `${own} root\r\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}`);
    expect(await untilFirstEnd(world)).toBe('join-failed');
  });

  test('a console that stays silent ends with the deadline of the join', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(CONSOLE)], ...CALM });
    await untilJoining(world);
    expect(await untilFirstEnd(world)).toBe('join-deadline');
  });
});
