/** Goal: with EC2 Instance Connect a machine joins, runs hooks and leaves, though no key of ours was ever put on it. */
import { describe, expect } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import { readMachineLog } from '../../src/store/machine-output.ts';
import { test } from '../support/database.ts';
import { worldPolicy, type PolicyChanges } from '../support/world-policy.ts';
import { endReasons, onlyMachine, readyInstance } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';

const SSH = { identityFile: null, instanceConnect: true } as const;
const CONNECT: PolicyChanges = { limits: { max: 1 }, ssh: SSH };

function userDataOf(world: World, instanceId: string): string {
  const { userData } = world.region.findInstance(instanceId) ?? { userData: null };
  return Buffer.from(userData ?? '', 'base64').toString('utf8');
}

/** What the process logs in with, and what it does about each push. */
function watchPushes(world: World, meet: (nth: number) => void = () => undefined): string[] {
  const users: string[] = [];
  const { steps } = world.process;
  const cloud: typeof steps.cloud = {
    ...steps.cloud,
    pushLoginKey: async (region, key) => {
      users.push(key.user);
      meet(users.length);
      await steps.cloud.pushLoginKey(region, key);
    },
  };
  world.process = { ...world.process, steps: { ...steps, cloud } };
  return users;
}

describe('a machine that keys are pushed to', () => {
  test('joins though its user-data has no key that may log in, with a push for every log-in', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(CONNECT)] });
    const users = watchPushes(world);
    await world.submit(1, 600);
    const instanceId = await readyInstance(world);
    expect(userDataOf(world, instanceId)).toContain('ssh_keys:');
    expect(userDataOf(world, instanceId)).not.toContain('ssh_authorized_keys');
    // The first contact, and the join itself.
    expect(users).toEqual(['ubuntu', 'ubuntu']);
    const { body } = await world.db.selectFrom('launches').select('body').executeTakeFirstOrThrow();
    expect(body).toMatchObject({ sshUser: 'ubuntu', authorizedKey: null });
  });

  test('is logged in to for its ready command and its hooks, long after the first key', async ({ pool }) => {
    const hooks = { beforeDrain: 'save', beforeTerminate: 'bye', health: 'well' };
    const policy = worldPolicy({ ...CONNECT, ready: { command: 'up' }, drain: { hooks } });
    const world = await World.create(pool, { ...CALM, policies: [policy] });
    await world.submit(1, 10);
    const instanceId = await readyInstance(world);
    await world.run(120_000);
    await world.runUntil('it has ended', async () => (await world.count('machines', 'terminated')) > 0);
    expect(world.hosts.commandsOn(instanceId)).toEqual(['(join)', 'up', 'well', 'save', 'bye']);
  });

  test('does not take the key of a minute ago', async ({ pool }) => {
    const world = await World.create(pool, { ...CALM, policies: [worldPolicy(CONNECT)], region: { pushedKeyMs: 0 } });
    await world.submit(1, 10);
    await world.runUntil('a machine has ended', async () => (await world.count('machines', 'terminated')) > 0);
    expect((await endReasons(world.db))[0]).toBe('join-deadline');
    const said = world.log.lines.filter(({ message }) => message === 'join did not succeed');
    expect(new Set(said.map(({ details }) => details['code']))).toEqual(new Set(['SSH_AUTH']));
  });

  test.for([
    ['ThrottlingException', 'AWS_THROTTLED'],
    ['EC2InstanceNotFoundException', 'SSH_UNREACHABLE'],
    ['EC2InstanceUnavailableException', 'SSH_UNREACHABLE'],
    ['AuthException', 'AWS_AUTH'],
  ] as const)('joins after %s, which is told as %s', async ([code, told], { pool }) => {
    const world = await World.create(pool, { ...CALM, policies: [worldPolicy(CONNECT)] });
    world.region.faults.failNext('SendSSHPublicKey', { code });
    await world.submit(1, 600);
    await readyInstance(world);
    const said = world.log.lines.filter(({ message }) => message === 'join did not succeed');
    expect(said.map(({ details }) => details['code'])).toEqual([told]);
    expect(await world.count('machines', 'terminated')).toBe(0);
  });

  test('ends with the deadline of its join when no key may be pushed, and says why in its own log', async ({
    pool,
  }) => {
    const world = await World.create(pool, { ...CALM, policies: [worldPolicy(CONNECT)] });
    watchPushes(world, () => {
      throw new AppError('AWS_AUTH', 'no right to push', { remedy: 'Ask for it.' });
    });
    await world.submit(1, 10);
    await world.run(120_000);
    const { id, state } = await onlyMachine(world);
    expect(state).toBe('joining');
    await world.runUntil('a machine has ended', async () => (await world.count('machines', 'terminated')) > 0);
    expect((await endReasons(world.db))[0]).toBe('join-deadline');
    const log = await readMachineLog(world.db, id, 0);
    const said = log?.items.filter(({ phase }) => phase === 'log-in');
    expect(said?.map(({ content }) => content)).toEqual(['AWS_AUTH: no right to push\nAsk for it.\n']);
    expect(said?.[0]?.times).toBeGreaterThan(1);
  });

  test.for([
    ['is pushed to when the policy names a key file by now', CONNECT, { limits: { max: 1 } }],
    ['takes pushed keys when the policy named a key file before', { limits: { max: 1 } }, CONNECT],
  ] as const)('%s', async ([, before, after], { pool }) => {
    const drain = { hooks: { beforeDrain: 'save', beforeTerminate: null } };
    const world = await World.create(pool, { ...CALM, policies: [worldPolicy({ ...before, drain })] });
    await world.submit(1, 10);
    const instanceId = await readyInstance(world);
    world.policies = [worldPolicy({ ...after, drain })];
    const users = watchPushes(world);
    await world.runUntil('it has ended', async () => (await world.count('machines', 'terminated')) > 0);
    expect(world.hosts.commandsOn(instanceId)).toContain('save');
    expect(users).toEqual(['ubuntu']);
  });
});

test('a host takes no key but the one that was put on it or pushed to it', async ({ pool }) => {
  const world = await World.create(pool, { ...CALM, policies: [worldPolicy(CONNECT)] });
  const { steps } = world.process;
  const cloud = { ...steps.cloud, pushLoginKey: async () => undefined };
  world.process = { ...world.process, steps: { ...steps, cloud } };
  await world.submit(1, 10);
  await world.run(120_000);
  expect((await onlyMachine(world)).state).toBe('joining');
});
