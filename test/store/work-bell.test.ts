import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, onTestFinished } from 'vitest';
import { sql } from 'kysely';
import { createTaskStore } from '../../src/store/tasks.ts';
import { listenForWork, type WorkBellOptions } from '../../src/store/work-bell.ts';
import { anAgent, anId, aTask, WORKLOAD } from '../support/builders.ts';
import { realClock } from '../support/clock.ts';
import { test } from '../support/database.ts';
import { quietLog } from '../support/log.ts';
import { until } from '../support/wait.ts';
import { shows } from '../support/waits.ts';

/** Rings so far, and a way to wait for one more than there were. */
async function aListener(
  url: string,
  waits: Pick<WorkBellOptions, 'probeMs' | 'answerMs'> = {},
): Promise<{ rings: () => number; ring: (after: number) => Promise<unknown> }> {
  let count = 0;
  // A connection that was cut is opened again at once here.
  const clock = { sleep: async (ms: number, signal?: AbortSignal) => await realClock.sleep(ms / 100, signal) };
  const bell = listenForWork({ url, onWork: () => (count += 1), clock, log: quietLog, ...waits });
  onTestFinished(async () => await bell.close());
  const ring = async (after: number) => await until('the bell rings', () => count > after);
  await ring(0);
  return { rings: () => count, ring };
}

describe('whoever listens for work', () => {
  test('is told when it begins, and of every submission that another connection commits', async ({
    db,
    databaseUrl,
  }) => {
    const { rings, ring } = await aListener(databaseUrl);
    const before = rings();

    await createTaskStore(db).insert({
      ids: [anId('tk'), anId('tk')],
      workload: WORKLOAD,
      command: ['true'],
      shape: { cpuMilli: 1000, memoryMib: 1024, gpus: 0 },
    });

    await ring(before);
  });

  test('hears nothing of a submission that was rolled back, nor of work that begins and ends', async ({
    db,
    databaseUrl,
  }) => {
    const agentId = await anAgent(db);
    const id = await aTask(db);
    const { rings, ring } = await aListener(databaseUrl);
    const before = rings();

    await db
      .transaction()
      .execute(async (tx) => {
        await sql`insert into spillway.tasks select * from spillway.tasks where false`.execute(tx);
        throw new Error('given up');
      })
      .catch(() => undefined);
    await createTaskStore(db).lease(agentId, [{ taskId: id, token: 'a' }], 60_000);
    await db.updateTable('tasks').set({ state: 'running' }).where('id', '=', id).execute();
    // Notifications come in order: when the marker is here, nothing came before it.
    expect(rings()).toBe(before);
    await sql`notify spillway_work, 'marker'`.execute(db);
    await ring(before);
    expect(rings()).toBe(before + 1);
  });

  test('is told of work that comes back to be done again', async ({ db, databaseUrl }) => {
    const id = await aTask(db, { state: 'running', agentId: await anAgent(db), leaseMs: -1 });
    const { rings, ring } = await aListener(databaseUrl);
    const before = rings();

    const expired = await createTaskStore(db).expireLeases(10);

    expect(expired).toMatchObject([{ id }]);
    await ring(before);
  });

  test('listens again when its connection was cut, and looks at once for what it missed', async ({
    db,
    databaseUrl,
  }) => {
    const { rings, ring } = await aListener(databaseUrl);
    const before = rings();

    await sql`select pg_terminate_backend(pid) from pg_stat_activity
              where application_name = 'spillway-listen' and datname = current_database()`.execute(db);

    await ring(before);
    const again = rings();
    await sql`notify spillway_work`.execute(db);
    await ring(again);
  });

  test(`opens its connection again when nobody answers on it ${shows('postgres.listen-probe')}`, async ({
    databaseUrl,
  }) => {
    const relay = await aRelay(databaseUrl);
    const { rings, ring } = await aListener(relay.url, { probeMs: 100, answerMs: 200 });
    const before = rings();

    // From here on nothing comes back on the old connection, and it is not closed either.
    relay.mute();

    await ring(before);
    expect(relay.connections()).toBeGreaterThan(1);
  });
});

/** A way to the server that can fall silent on what is connected. */
async function aRelay(url: string): Promise<{ url: string; mute: () => void; connections: () => number }> {
  const target = new URL(url);
  const open: Socket[] = [];
  let count = 0;
  const relay = createServer((client) => {
    count += 1;
    const server = connect({ host: target.hostname, port: Number(target.port) });
    server.on('data', (chunk) => client.write(chunk));
    client.on('data', (chunk) => server.write(chunk));
    for (const socket of [client, server]) socket.on('error', () => undefined);
    open.push(server, client);
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', () => resolve()));
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
    relay.close();
  });
  const { port } = relay.address() as AddressInfo;
  return {
    url: Object.assign(new URL(url), { host: `127.0.0.1:${port}` }).href,
    mute: () => open.forEach((socket) => socket.removeAllListeners('data').on('data', () => undefined)),
    connections: () => count,
  };
}
