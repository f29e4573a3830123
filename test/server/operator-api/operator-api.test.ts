import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe } from 'vitest';
import { createDatabase } from '../../../src/store/database.ts';
import { createPool } from '../../../src/store/pool.ts';
import { ids, seedFleet } from '../../store/reports-fleet.ts';
import { test } from '../../support/database.ts';
import { quietLog } from '../../support/log.ts';
import { until } from '../../support/wait.ts';
import { HEALTHY, startableApi } from './service.ts';
import { shows } from '../../support/waits.ts';

const never = async (): Promise<never> => new Promise<never>(() => undefined);

describe('reading', () => {
  test('lists come in an envelope with a cursor to go on', async ({ db, expect }) => {
    await seedFleet(db);
    const { app } = startableApi(db);
    const first = (await app.inject('/v1/tasks?limit=2')).json();
    expect(first).toMatchObject({ apiVersion: 'spillway/v1', kind: 'TaskList', nextCursor: ids.pending });
    const second = (await app.inject(`/v1/tasks?limit=2&cursor=${first.nextCursor}`)).json();
    expect(second.items.map((task: { id: string }) => task.id)).toEqual([ids.done]);
    expect(second.nextCursor).toBeNull();
    await app.close();
  });

  test('refuses a page of more than a thousand, a misspelt filter and an id that is none', async ({ db, expect }) => {
    const { app } = startableApi(db);
    for (const url of [
      '/v1/tasks?limit=1001',
      '/v1/tasks?wrkload=x',
      '/v1/machines?state=asleep',
      "/v1/tasks/tk-1'--",
      '/v1/machines/mc-short',
    ]) {
      const response = await app.inject(url);
      expect([url, response.statusCode, response.json().error.code]).toEqual([url, 400, 'USAGE']);
    }
    await app.close();
  });

  test('answers 404 with an error document for what does not exist', async ({ db, expect }) => {
    const { app } = startableApi(db);
    for (const url of [
      '/v1/machines/mc-zzzzzzzzzzzz',
      '/v1/tasks/tk-zzzzzzzzzzzz',
      '/v1/tasks/tk-zzzzzzzzzzzz/logs',
      '/v2/anything',
    ]) {
      const response = await app.inject(url);
      expect([url, response.statusCode, response.json().kind, response.json().error.code]).toEqual([
        url,
        404,
        'Error',
        'NOT_FOUND',
      ]);
    }
    await app.close();
  });
});

describe('writing', () => {
  test('passes a valid submission on and answers with the ids', async ({ db, expect }) => {
    const { app, submissions } = startableApi(db);
    const response = await app.inject({
      method: 'POST',
      url: '/v1/tasks',
      payload: { workload: 'transcode', command: ['true'], count: 2 },
    });
    expect(response.statusCode).toBe(201);
    expect(response.json()).toMatchObject({ kind: 'TaskReceipt', taskIds: ['tk-000000000000', 'tk-000000000001'] });
    const anywhere = { gpus: null, arch: null, localOnly: false, spotOk: true, runTimeS: null };
    expect(submissions).toEqual([{ workload: 'transcode', command: ['true'], shape: null, ...anywhere, count: 2 }]);
    await app.close();
  });

  test('names every field that is wrong and acts on none of them', async ({ db, expect }) => {
    const { app, submissions } = startableApi(db);
    const response = await app.inject({
      method: 'POST',
      url: '/v1/tasks',
      payload: { workload: '', command: [], count: 10_001, extra: 1 },
    });
    expect(response.statusCode).toBe(400);
    const { message } = response.json().error;
    for (const field of ['workload', 'command', 'count', 'extra']) expect(message).toContain(field);
    expect(submissions).toEqual([]);
    await app.close();
  });

  test('refuses bodies that are no JSON, too large, or try to reach the prototype', async ({ db, expect }) => {
    const { app, submissions } = startableApi(db);
    const json = { 'content-type': 'application/json' };
    const post = async (payload: string, headers: Record<string, string>) =>
      (await app.inject({ method: 'POST', url: '/v1/tasks', payload, headers })).statusCode;
    expect(await post('workload=x', { 'content-type': 'application/x-www-form-urlencoded' })).toBe(415);
    expect(await post('{"workload"', json)).toBe(400);
    expect(await post('{"__proto__":{"workload":"x"},"command":["true"]}', json)).toBe(400);
    expect(await post(JSON.stringify({ workload: 'x', command: ['a'.repeat(300_000)] }), json)).toBe(413);
    expect(submissions).toEqual([]);
    await app.close();
  });

  test('tells an enrolment token once, with the address that agents need', async ({ db, expect }) => {
    const { app, logged } = startableApi(db);
    const response = await app.inject({
      method: 'POST',
      url: '/v1/enrolments',
      payload: { labels: { pool: 'media' }, ttlMs: 60_000 },
    });
    expect(response.json()).toMatchObject({
      kind: 'Enrolment',
      token: 'en-secret',
      expiresAt: '2026-11-22T10:01:00.000Z',
      agentUrl: 'https://spillway.example:7778',
    });
    expect(response.headers['cache-control']).toBe('no-store');
    expect(logged.join('')).not.toContain('en-secret');
    await app.close();
  });
});

describe('strangers', () => {
  test('a page that made its own name point here is turned away by its Host header', async ({ db, expect }) => {
    const { app } = startableApi(db);
    const ask = async (host: string) => (await app.inject({ url: '/livez', headers: { host } })).statusCode;
    for (const host of ['localhost', 'localhost:7777', '127.0.0.1:7777', '[::1]:7777'])
      expect([host, await ask(host)]).toEqual([host, 200]);
    for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.nip.io', 'localhost:7777:1'])
      expect([host, await ask(host)]).toEqual([host, 403]);
    await app.close();
  });

  test('another web site cannot change anything, with whatever the browser says of it', async ({ db, expect }) => {
    const { app, submissions } = startableApi(db);
    const payload = { workload: 'transcode', command: ['true'] };
    const post = async (headers: Record<string, string>) =>
      (await app.inject({ method: 'POST', url: '/v1/tasks', payload, headers: { host: 'localhost:7777', ...headers } }))
        .statusCode;
    expect(await post({ 'sec-fetch-site': 'cross-site' })).toBe(403);
    expect(await post({ 'sec-fetch-site': 'same-site' })).toBe(403);
    expect(await post({ origin: 'https://evil.example' })).toBe(403);
    expect(await post({ origin: 'http://localhost:8080' })).toBe(403);
    expect(await post({ origin: 'null' })).toBe(403);
    expect(submissions).toEqual([]);
    expect(await post({ 'sec-fetch-site': 'same-origin' })).toBe(201);
    expect(await post({ origin: 'http://localhost:7777' })).toBe(201);
    await app.close();
  });

  test('a client that never ends its headers is cut off within seconds', async ({ db, expect }) => {
    const { app } = startableApi(db);
    await app.listen({ host: '127.0.0.1', port: 0 });
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
    let closed = false;
    socket
      .on('close', () => (closed = true))
      .on('error', () => undefined)
      .resume();
    socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow:');
    await until('the slow client is cut off', () => closed, { deadlineMs: 9000 });
    expect(closed).toBe(true);
    await app.close();
  });
});

describe('failures', () => {
  test('a bug is told without its details and logged with them', async ({ db, expect }) => {
    const { app, logged } = startableApi(db, {
      previewProvedPlan: async () => Promise.reject(new TypeError('x is not a function at secret.ts')),
    });
    const response = await app.inject('/v1/plan');
    expect(response.statusCode).toBe(500);
    expect(response.json().error).toMatchObject({ code: 'INTERNAL', cause: null });
    expect(response.body).not.toContain('secret.ts');
    expect(logged.join('')).toContain('x is not a function at secret.ts');
    await app.close();
  });

  test(`a plan that never comes ends as a time-out ${shows('operator-api.handler')}`, async ({ db, expect }) => {
    const { app } = startableApi(db, { previewProvedPlan: never }, 50);
    const response = await app.inject('/v1/plan');
    expect([response.statusCode, response.json().error.code]).toEqual([504, 'TIMEOUT']);
    await app.close();
  });

  test('a database that is away is a 503 with its code', async ({ expect }) => {
    const pool = createPool('postgres://nobody@127.0.0.1:1/none', {
      applicationName: 'spillway-test',
      max: 1,
      log: quietLog,
    });
    const { app } = startableApi(createDatabase(pool));
    const response = await app.inject('/v1/status');
    expect([response.statusCode, response.json().error.code]).toEqual([503, 'DATABASE_UNREACHABLE']);
    const metrics = await app.inject('/metrics');
    expect(metrics.statusCode).toBe(200);
    expect(metrics.body).not.toMatch(/^spillway_machines/m);
    await app.close();
    await pool.end();
  });
});

describe('health', () => {
  test('livez asks nobody, readyz tells what fails, healthz how long it does', async ({ db, expect }) => {
    const failing = {
      ready: false,
      leader: false,
      checks: [
        ...HEALTHY.checks,
        { name: 'aws', state: 'failing', detail: 'AWS does not answer', sinceMs: HEALTHY.checks[0]!.sinceMs },
      ],
    } as const;
    const { app } = startableApi(db, { health: async () => failing });
    expect((await app.inject('/livez')).statusCode).toBe(200);
    const ready = await app.inject('/readyz');
    expect([ready.statusCode, ready.json().failing]).toEqual([503, [failing.checks[1]]]);
    const health = (await app.inject('/healthz?verbose')).json();
    expect(health.checks).toContainEqual({ name: 'aws', state: 'failing', detail: 'AWS does not answer', ageS: 5 });
    expect((await app.inject('/healthz')).json()).not.toHaveProperty('checks');
    await app.close();
  });

  test(`a health check that hangs is bad health within seconds ${shows('operator-api.probe')}`, async ({
    db,
    expect,
  }) => {
    const { app } = startableApi(db, { health: never });
    const response = await app.inject('/readyz');
    expect([response.statusCode, response.json().ready]).toEqual([503, false]);
    await app.close();
  });

  test('metrics show the fleet of this moment', async ({ db, expect }) => {
    await seedFleet(db);
    const { app } = startableApi(db);
    const response = await app.inject('/metrics');
    expect(response.headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(response.body).toContain('spillway_machines{workload="transcode",state="ready",market="spot"} 1');
    expect(response.body).toContain('spillway_pending_tasks{workload="transcode"} 1');
    expect(response.body).toContain('spillway_spend_usd_per_hour 0.68');
    await app.close();
  });
});
