import { randomBytes } from 'node:crypto';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, inject, test as base } from 'vitest';
import { migrate, MIGRATIONS_DIR, pendingMigrations } from '../../src/store/migrate.ts';
import { quietLog } from '../support/log.ts';
import { dropTestDatabase, urlOfDatabase, withClient } from '../support/postgres.ts';

const test = base.extend<{ emptyUrl: string; dir: string }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads the names of the fixtures a fixture needs from this pattern
  emptyUrl: async ({}, use) => {
    const adminUrl = inject('postgresAdminUrl');
    const name = `test_${randomBytes(6).toString('hex')}`;
    await withClient(adminUrl, (client) => client.query(`create database ${name}`));
    await use(urlOfDatabase(adminUrl, name));
    await dropTestDatabase(adminUrl, name);
  },
  // oxlint-disable-next-line no-empty-pattern -- as above
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), 'spillway-migrations-'));
    await copyFile(join(MIGRATIONS_DIR, '0001_foundation.sql'), join(dir, '0001_foundation.sql'));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
});

describe('migrate', () => {
  test('applies each migration once, also when several processes start together', async ({ emptyUrl, dir }) => {
    const results = await Promise.all([1, 2, 3, 4].map(() => migrate(emptyUrl, { dir, log: quietLog })));

    expect(results.flatMap((result) => result.applied)).toEqual(['0001_foundation']);
    expect(await pendingMigrations(emptyUrl, dir)).toEqual([]);
  });

  test('applies what came later and nothing of it when one statement fails', async ({ emptyUrl, dir }) => {
    await migrate(emptyUrl, { dir, log: quietLog });
    await writeFile(join(dir, '0002_more.sql'), 'create table spillway.more (id integer);');
    await writeFile(join(dir, '0003_broken.sql'), 'create table spillway.more (id integer);');

    await expect(migrate(emptyUrl, { dir, log: quietLog })).rejects.toMatchObject({ code: 'DATABASE_SCHEMA' });
    expect(await pendingMigrations(emptyUrl, dir)).toEqual(['0002_more', '0003_broken']);

    await writeFile(join(dir, '0003_broken.sql'), 'create table spillway.much_more (id integer);');
    expect(await migrate(emptyUrl, { dir, log: quietLog })).toEqual({ applied: ['0002_more', '0003_broken'] });
  });

  test('gives launches from before ladders their one attempt', async ({ emptyUrl, dir }) => {
    await migrate(emptyUrl, { dir, log: quietLog });
    await withClient(emptyUrl, async (client) => {
      await client.query(`insert into spillway.plans (id, epoch, decided_at, input, outcome, digest)
        values ('pl-000000000001', 1, now(), '{}', '{}', '')`);
      for (const [digit, state] of ['open', 'expired'].entries()) {
        await client.query(`insert into spillway.launches
          (id, plan_id, workload, state, nonce, attempt, token, body, zone, instance_count, price_usd_per_hour, epoch, deadline_at)
          values ('ln-00000000000${digit}', 'pl-000000000001', 'w', '${state}', '${String(digit).repeat(32)}', 1, 't${digit}', '{}', 'a', 1, 0.1, 1, now())`);
      }
    });
    await copyFile(join(MIGRATIONS_DIR, '0003_ladder.sql'), join(dir, '0003_ladder.sql'));

    await migrate(emptyUrl, { dir, log: quietLog });

    const attempts = await withClient(emptyUrl, async (client) => {
      return await client.query('select token, attempt, outcome from spillway.launch_attempts order by token');
    });
    expect(attempts.rows).toEqual([
      { token: 't0', attempt: 1, outcome: null },
      { token: 't1', attempt: 1, outcome: 'expired' },
    ]);
  });

  test('refuses a database that a newer version has migrated', async ({ emptyUrl, dir }) => {
    await writeFile(join(dir, '0002_future.sql'), 'create table spillway.future (id integer);');
    await migrate(emptyUrl, { dir, log: quietLog });
    await rm(join(dir, '0002_future.sql'));

    const refusal = { code: 'DATABASE_SCHEMA', message: expect.stringContaining('0002_future') };
    await expect(migrate(emptyUrl, { dir, log: quietLog })).rejects.toMatchObject(refusal);
    await expect(pendingMigrations(emptyUrl, dir)).rejects.toMatchObject(refusal);
  });

  test('tells an unreachable server and a wrong password apart', async ({ emptyUrl }) => {
    const wrongPassword = Object.assign(new URL(emptyUrl), { password: 'wrong' }).href;
    const wrongPort = Object.assign(new URL(emptyUrl), { port: '1' }).href;

    await expect(migrate(wrongPassword, { log: quietLog })).rejects.toMatchObject({ code: 'DATABASE_AUTH' });
    await expect(migrate(wrongPort, { log: quietLog })).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' });
  });
});

describe('the migration to events that cannot lie', () => {
  const LIVED = `
    insert into spillway.plans (id, epoch, decided_at, input, outcome, digest) values
      ('pl-000000000001', 1, spillway.now(), '{}', '{}', 'a'), ('pl-000000000002', 1, spillway.now(), '{}', '{}', 'b');
    insert into spillway.launches (id, plan_id, workload, state, nonce, attempt, token, body, zone, instance_count, price_usd_per_hour, epoch, deadline_at)
      values ('ln-000000000001', 'pl-000000000001', 'w', 'fulfilled', repeat('a', 32), 1, 't', '{}', 'z', 1, 0.1, 1, spillway.now());
    insert into spillway.machines (id, launch_id, plan_id, workload, state, revision, instance_type, cpu_milli, memory_mib, zone, market, volume_gib, price_usd_per_hour)
      values ('mc-000000000001', 'ln-000000000001', 'pl-000000000001', 'w', 'draining', 3, 'c5.large', 1, 1, 'z', 'spot', 1, 0.1);
    insert into spillway.machine_events (machine_id, from_state, to_state, actor, reason, plan_id) values
      ('mc-000000000001', null, 'requested', 'planner', 'launch', 'pl-000000000001'),
      ('mc-000000000001', 'requested', 'launching', 'launch-step', 'ec2-call', null),
      ('mc-000000000001', 'ready', 'draining', 'planner', 'unneeded', 'pl-000000000002'),
      ('mc-000000000001', 'draining', 'draining', 'machine-step', 'drain-deadline-extended', null);`;

  test('gives old rows their plan, trace and revision, and their machine lives on', async ({ emptyUrl, dir }) => {
    await migrate(emptyUrl, { dir, log: quietLog });
    await withClient(emptyUrl, (client) => client.query(LIVED));
    const file = '0006_every_change_has_its_event.sql';
    await copyFile(join(MIGRATIONS_DIR, file), join(dir, file));
    await migrate(emptyUrl, { dir, log: quietLog });

    await withClient(emptyUrl, async (client) => {
      const { rows } = await client.query(`
        select e.revision, e.plan_id, e.trace_id = p.trace_id as traced
        from spillway.machine_events e join spillway.plans p on p.id = e.plan_id order by e.id`);
      const traced = true;
      expect(rows).toEqual([
        { revision: 1, plan_id: 'pl-000000000001', traced },
        { revision: 2, plan_id: 'pl-000000000001', traced },
        { revision: 3, plan_id: 'pl-000000000002', traced },
        { revision: 3, plan_id: 'pl-000000000001', traced },
      ]);
      await client.query(`begin;
        update spillway.machines set state = 'leaving', revision = revision + 1;
        insert into spillway.machine_events (machine_id, from_state, to_state, actor, reason)
          values ('mc-000000000001', 'draining', 'leaving', 'machine-step', 'work-gone');
        commit;`);
    });
  });
});

describe('the migration to GPUs', () => {
  const OLD = `
    insert into spillway.plans (id, epoch, decided_at, input, outcome, digest) values ('pl-000000000001', 1, spillway.now(), '{}', '{}', 'a');
    insert into spillway.launches (id, plan_id, workload, state, nonce, attempt, token, body, zone, instance_count, price_usd_per_hour, epoch, deadline_at, ladder)
      values ('ln-000000000001', 'pl-000000000001', 'w', 'open', repeat('a', 32), 1, 't1', '{}', 'z', 1, 0.1, 1, spillway.now(),
        '[{"instanceType": "a", "resources": {"cpuMilli": 1, "memoryMib": 2}}, {"instanceType": "b", "resources": {"cpuMilli": 3, "memoryMib": 4}}]');
    insert into spillway.tasks (id, workload, command, cpu_milli, memory_mib, state) values ('tk-000000000001', 'w', '[]', 1, 1, 'pending');`;

  test('lets open launches go down the ladder they have, and old tasks run anywhere', async ({ emptyUrl, dir }) => {
    await copyFile(join(MIGRATIONS_DIR, '0003_ladder.sql'), join(dir, '0003_ladder.sql'));
    await migrate(emptyUrl, { dir, log: quietLog });
    await withClient(emptyUrl, (client) => client.query(OLD));
    const file = '0007_gpus_and_constraints.sql';
    await copyFile(join(MIGRATIONS_DIR, file), join(dir, file));
    await migrate(emptyUrl, { dir, log: quietLog });

    await withClient(emptyUrl, async (client) => {
      const ladders = await client.query('select ladder from spillway.launches');
      expect(ladders.rows[0].ladder).toEqual([
        { instanceType: 'a', arch: null, resources: { cpuMilli: 1, memoryMib: 2, gpus: 0 } },
        { instanceType: 'b', arch: null, resources: { cpuMilli: 3, memoryMib: 4, gpus: 0 } },
      ]);
      await client.query(`update spillway.launches set attempt = 2, token = 't2', gpus = 4, arch = 'arm64'`);
      const attempts = await client.query('select gpus, arch from spillway.launch_attempts order by attempt');
      expect(attempts.rows).toEqual([
        { gpus: 0, arch: null },
        { gpus: 4, arch: 'arm64' },
      ]);
      const tasks = await client.query('select gpus, arch, local_only, spot_ok, run_time_s from spillway.tasks');
      expect(tasks.rows).toEqual([{ gpus: 0, arch: null, local_only: false, spot_ok: true, run_time_s: null }]);
    });
  });
});
