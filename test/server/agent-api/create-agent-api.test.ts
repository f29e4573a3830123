import { once } from 'node:events';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AppError } from '../../../src/model/errors.ts';
import { createAgentApi } from '../../../src/server/agent-api/create-agent-api.ts';
import type { AgentApiLimits } from '../../../src/server/agent-api/create-agent-api.ts';
import { hashToken } from '../../../src/server/agent-api/credentials.ts';
import { randomIds, realClock } from '../../support/clock.ts';
import { quietLog } from '../../support/log.ts';
import { until } from '../../support/wait.ts';
import { MemoryGateway } from './memory-gateway.ts';
import type { MemoryAgent } from './memory-gateway.ts';
import { shows } from '../../support/waits.ts';

const ENROLMENT = 'enrol-0123456789abcdef';
const BOOT = '0f8b6a52-3d1c-4a57-9a39-0123456789ab';
const OTHER_BOOT = '1f8b6a52-3d1c-4a57-9a39-0123456789ab';
const REGISTRATION = `protocol 1\nname host-1\nboot ${BOOT}\ncapacity 8000 16384\n`;
const SCRIPT = { script: "exec 'true'\n", progressBase64: null };

let gateway: MemoryGateway;
let server: FastifyInstance;
let seq: number;

async function start(limits: Partial<AgentApiLimits> = {}): Promise<void> {
  server = createAgentApi({
    gateway,
    clock: realClock,
    deploymentKey: Buffer.alloc(32, 7),
    ids: randomIds,
    log: quietLog,
    limits,
  });
  await server.listen({ host: '127.0.0.1', port: 0 });
}

beforeEach(() => {
  gateway = new MemoryGateway();
  gateway.enrolments.set(hashToken(ENROLMENT), null);
  seq = 0;
});
afterEach(() => server.close());

function port(): number {
  return (server.server.address() as AddressInfo).port;
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
}

async function post(
  path: string,
  token: string | null,
  body: string | Uint8Array,
  signal?: AbortSignal,
): Promise<Answer> {
  const type = typeof body === 'string' ? 'text/plain; charset=utf-8' : 'application/octet-stream';
  const response = await fetch(`http://127.0.0.1:${port()}/agent/v1/${path}`, {
    method: 'POST',
    headers: { 'content-type': type, ...(token === null ? {} : { authorization: `Bearer ${token}` }) },
    body: body as string | Uint8Array<ArrayBuffer>,
    ...(signal === undefined ? {} : { signal }),
  });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

async function enrol(): Promise<{ token: string; agent: MemoryAgent }> {
  const answer = await post('register', ENROLMENT, REGISTRATION);
  const token = /^token (.+)$/m.exec(answer.text)?.[1];
  const agent = gateway.agent('host-1');
  if (token === undefined || agent === null) throw new Error(`not registered: ${answer.status} ${answer.text}`);
  return { token, agent };
}

function beat(...lines: readonly string[]): string {
  seq += 1;
  return [`boot ${BOOT}`, `seq ${seq}`, 'capacity 8000 16384', ...lines, ''].join('\n');
}

describe('registration', () => {
  test('burns the enrolment token and answers with a token of which only the hash is kept', async () => {
    await start();
    const { token, agent } = await enrol();
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    expect(agent.tokenHash).toBe(hashToken(token));
    await post('heartbeat', token, beat());
    expect(await post('register', ENROLMENT, REGISTRATION)).toMatchObject({ status: 401 });
    expect(gateway.agents.size).toBe(1);
  });

  test('answers again when its first answer was lost, with the same token, so that a late twin of the first call breaks nothing', async () => {
    await start();
    const lost = await enrol();
    const again = await enrol();
    expect(again).toEqual(lost);
    expect(await post('heartbeat', again.token, beat())).toMatchObject({ status: 200 });
  });

  test.each([
    ['no credential', null, REGISTRATION, 401],
    ['an unknown credential', 'enrol-of-another-world', REGISTRATION, 401],
    ['a body that does not parse', ENROLMENT, 'hello\n', 400],
  ])('with %s changes nothing', async (_what, token, body, status) => {
    await start();
    expect(await post('register', token, body)).toMatchObject({ status });
    expect(gateway.agents.size).toBe(0);
  });
});

describe('heartbeats', () => {
  test('bring orders at once when there are some', async () => {
    await start();
    const { token, agent } = await enrol();
    const taskId = gateway.assign(agent, SCRIPT);
    const answer = await post('heartbeat', token, beat('wait 30'));
    expect(answer.text).toBe(`interval 1\nlease 3\nuncordon 0\nrun ${taskId} 1 250 32 ZXhlYyAndHJ1ZScK\n`);
  });

  test('are held while there is nothing to say, and answered the moment there is', async () => {
    await start();
    const { token, agent } = await enrol();
    const answer = post('heartbeat', token, beat('wait 30'));
    await until('the answer is held', () => gateway.waiting === 1);
    // A bell without news must not end the waiting.
    gateway.ring();
    await until('the answer is held again', () => gateway.waiting === 1);
    agent.cordon = { cordoned: true, generation: 1 };
    gateway.ring();
    expect((await answer).text).toContain('cordon 1\n');
  });

  test(`are answered when the time is up that the agent was content to wait ${shows('agent-api.hold')}`, async () => {
    await start();
    const { token } = await enrol();
    const startedMs = performance.now();
    const answer = await post('heartbeat', token, beat('wait 1'));
    expect(answer).toMatchObject({ status: 200, text: 'interval 1\nlease 3\nuncordon 0\n' });
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(950);
  });

  test('let go of the gateway when the agent hangs up', async () => {
    await start();
    const { token } = await enrol();
    const gone = new AbortController();
    const answer = post('heartbeat', token, beat('wait 30'), gone.signal);
    await until('the answer is held', () => gateway.waiting === 1);
    gone.abort();
    await expect(answer).rejects.toThrow('abort');
    await until('nothing is held', () => gateway.waiting === 0);
  });

  test('that are held are answered when the service stops', async () => {
    await start();
    const { token } = await enrol();
    const answer = post('heartbeat', token, beat('wait 30'));
    await until('the answer is held', () => gateway.waiting === 1);
    await server.close();
    expect(await answer).toMatchObject({ status: 200 });
  });

  test('are not held when too many are held already', async () => {
    await start({ heldMax: 0 });
    const { token } = await enrol();
    expect(await post('heartbeat', token, beat('wait 30'))).toMatchObject({ status: 200 });
    expect(gateway.waiting).toBe(0);
  });

  test('sent again by a third party change nothing', async () => {
    await start();
    const { token, agent } = await enrol();
    const captured = beat();
    expect(await post('heartbeat', token, captured)).toMatchObject({ status: 200 });
    expect(await post('heartbeat', token, beat())).toMatchObject({ status: 200 });
    expect(await post('heartbeat', token, captured)).toMatchObject({ status: 409 });
    expect(await post('heartbeat', token, beat().replace(BOOT, OTHER_BOOT))).toMatchObject({ status: 200 });
    expect(await post('heartbeat', token, beat())).toMatchObject({ status: 409 });
    expect(agent.reports).toHaveLength(3);
  });

  test('ask whose a token is once and not each time, and notice a removed agent all the same', async () => {
    await start();
    const { token, agent } = await enrol();
    for (let count = 0; count < 5; count += 1) await post('heartbeat', token, beat());
    expect(gateway.authentications).toBe(1);
    agent.removed = true;
    expect(await post('heartbeat', token, beat())).toMatchObject({ status: 401 });
    expect(await post('heartbeat', token, beat())).toMatchObject({ status: 401 });
    expect(gateway.authentications).toBe(2);
  });

  test('are refused with a credential that the agent has no more, although it was good a moment ago', async () => {
    await start();
    const { token, agent } = await enrol();
    expect(await post('heartbeat', token, beat())).toMatchObject({ status: 200 });
    agent.tokenHash = hashToken('f'.repeat(64));
    expect(await post('heartbeat', token, beat())).toMatchObject({ status: 401 });
    expect(agent.reports).toHaveLength(1);
  });
});

describe('what the service cannot do now', () => {
  test('is answered with 503 and a time to come back', async () => {
    await start();
    const { token } = await enrol();
    gateway.beforeHeartbeat = () =>
      Promise.reject(new AppError('DATABASE_UNREACHABLE', 'the database is away', { remedy: 'wait' }));
    const answer = await post('heartbeat', token, beat());
    expect(answer.status).toBe(503);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(answer.text).not.toContain('database');
  });

  test('is answered with 500 and no inner word when it is a bug', async () => {
    await start();
    const { token } = await enrol();
    gateway.beforeHeartbeat = () => Promise.reject(new TypeError('secret of the house'));
    expect(await post('heartbeat', token, beat())).toMatchObject({ status: 500, text: 'error try again later\n' });
  });

  test('is refused with 429 and not queued when too much is in flight', async () => {
    await start({ inFlightMax: 1 });
    const { token } = await enrol();
    let release = (): void => undefined;
    gateway.beforeHeartbeat = () => new Promise((resolve) => (release = resolve));
    const slow = post('heartbeat', token, beat());
    await until('one is in flight', () => gateway.heartbeats === 1);
    const answer = await post('heartbeat', token, beat());
    expect(answer.status).toBe(429);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    release();
    expect(await slow).toMatchObject({ status: 200 });
  });
});

describe('an agent', () => {
  async function enrolSecond(): Promise<string> {
    gateway.enrolments.set(hashToken(`${ENROLMENT}-2`), null);
    const body = REGISTRATION.replace('host-1', 'host-2').replace(BOOT, OTHER_BOOT);
    const answer = await post('register', `${ENROLMENT}-2`, body);
    return /^token (.+)$/m.exec(answer.text)?.[1] ?? '';
  }

  test('that floods is told to wait with 429, before its bodies are read, and the others are served on', async () => {
    await start({ requests: { burst: 3, perSecond: 0.01, rememberedMax: 10 } });
    const { token } = await enrol();
    const other = await enrolSecond();
    for (let count = 0; count < 3; count += 1)
      expect(await post('heartbeat', token, beat())).toMatchObject({ status: 200 });
    const served = gateway.heartbeats;

    const answer = await post('heartbeat', token, beat());
    expect(answer).toMatchObject({ status: 429, text: 'error this agent asks too often\n' });
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    const log = await post('tasks/tk-0123456789ab/log?attempt=1&offset=0', token, new Uint8Array(8));
    expect(log).toMatchObject({ status: 429 });
    expect(gateway.heartbeats).toBe(served);
    expect(await post('heartbeat', other, beat().replace(BOOT, OTHER_BOOT))).toMatchObject({ status: 200 });
  });

  test('speaks for itself only: what it says is its own, and what names another is refused', async () => {
    await start();
    const { token, agent } = await enrol();
    const other = await enrolSecond();
    const victim = gateway.agent('host-2');
    const taskId = gateway.assign(victim!, SCRIPT);
    await post('heartbeat', other, beat().replace(BOOT, OTHER_BOOT));
    const reportsOfVictim = victim!.reports.length;

    expect(await post('heartbeat', token, beat(`agent ${victim!.id}`))).toMatchObject({ status: 400 });
    expect(await post('heartbeat', token, beat(`task ${taskId} 1 exited 0`))).toMatchObject({ status: 200 });
    expect(await post(`tasks/${taskId}/log?attempt=1&offset=0`, token, new Uint8Array(8))).toMatchObject({
      status: 403,
    });
    expect(await post('heartbeat', ENROLMENT, beat())).toMatchObject({ status: 401 });
    expect(await post('heartbeat', victim!.tokenHash, beat())).toMatchObject({ status: 401 });

    expect(victim!.reports).toHaveLength(reportsOfVictim);
    expect(victim!.assigned.get(taskId)?.exitCode).toBeNull();
    expect(gateway.logs.size).toBe(0);
    expect(agent.reports.at(-1)?.tasks).toMatchObject([{ taskId, state: 'exited' }]);
  });
});

describe('strangers', () => {
  test('with many wrong tokens are shut out, while known agents of the same address go on', async () => {
    await start({ failures: { burst: 3, perSecond: 0.01, rememberedMax: 10 } });
    const { token } = await enrol();
    await post('heartbeat', token, beat());
    for (let count = 0; count < 3; count += 1) {
      expect(await post('heartbeat', `wrong-token-number-${count}`, beat())).toMatchObject({ status: 401 });
    }
    const asked = gateway.authentications;
    expect(await post('heartbeat', 'wrong-token-number-9', beat())).toMatchObject({ status: 429 });
    expect(await post('register', ENROLMENT, REGISTRATION)).toMatchObject({ status: 429 });
    expect(gateway.authentications).toBe(asked);
    expect(await post('heartbeat', token, beat())).toMatchObject({ status: 200 });
  });

  test.each([
    ['an oversized body', (token: string) => post('heartbeat', token, 'x'.repeat(65 * 1024)), 413],
    [
      'an oversized log part',
      (token: string) => post('tasks/tk-0123456789ab/log?attempt=1&offset=0', token, new Uint8Array(65 * 1024)),
      413,
    ],
    ['an unknown path', (token: string) => post('agents', token, ''), 404],
    ['bytes for a heartbeat', (token: string) => post('heartbeat', token, new Uint8Array(8)), 400],
  ])('get nowhere with %s', async (_what, ask, status) => {
    await start();
    const { token } = await enrol();
    expect(await ask(token)).toMatchObject({ status });
    expect(gateway.heartbeats).toBe(0);
  });

  /** Sends `head`, then one byte of `trickle` every 100 ms, and resolves when the server hangs up. */
  async function trickle(head: string, byte: string): Promise<'hung up'> {
    const socket = connect(port(), '127.0.0.1');
    socket.on('error', () => undefined);
    socket.resume();
    await once(socket, 'connect');
    socket.write(head);
    const drip = setInterval(() => socket.write(byte), 100);
    await once(socket, 'close');
    clearInterval(drip);
    return 'hung up';
  }

  test('who trickle their headers or their body are hung up on', async () => {
    await start({ requestMs: 600, headersMs: 400, checkMs: 100 });
    const { token } = await enrol();
    const line = 'POST /agent/v1/heartbeat HTTP/1.1\r\nHost: a\r\n';
    const ends = await Promise.all([
      trickle(line, 'X'),
      trickle(
        `${line}Authorization: Bearer ${token}\r\nContent-Type: text/plain\r\nContent-Length: 60000\r\n\r\n`,
        'x',
      ),
    ]);
    expect(ends).toEqual(['hung up', 'hung up']);
  });

  test('a held answer outlives the time-outs of requests', async () => {
    await start({ requestMs: 300, headersMs: 200, checkMs: 50 });
    const { token } = await enrol();
    expect(await post('heartbeat', token, beat('wait 1'))).toMatchObject({ status: 200 });
  });
});

describe('logs', () => {
  test('are appended byte for byte where the service says', async () => {
    await start();
    const { token, agent } = await enrol();
    const taskId = gateway.assign(agent, SCRIPT);
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    expect(await post(`tasks/${taskId}/log?attempt=1&offset=0`, token, bytes)).toMatchObject({
      status: 200,
      text: 'next 256\n',
    });
    expect(await post(`tasks/${taskId}/log?attempt=1&offset=0`, token, bytes)).toMatchObject({ text: 'next 256\n' });
    expect(gateway.logs.get(`${taskId}.1`)).toEqual(Buffer.from(bytes));
  });

  test('of others, of nobody, past the limit or with odd numbers are refused', async () => {
    await start();
    const { token, agent } = await enrol();
    const taskId = gateway.assign(agent, SCRIPT);
    const byte = new Uint8Array(1);
    gateway.logBytesMax = 0;
    expect(await post(`tasks/${taskId}/log?attempt=1&offset=0`, token, byte)).toMatchObject({ status: 413 });
    expect(await post('tasks/tk-0123456789ab/log?attempt=1&offset=0', token, byte)).toMatchObject({ status: 403 });
    expect(await post(`tasks/${agent.id}/log?attempt=1&offset=0`, token, byte)).toMatchObject({ status: 404 });
    expect(await post(`tasks/${taskId}/log?attempt=1&offset=-1`, token, byte)).toMatchObject({ status: 400 });
    expect(await post(`tasks/${taskId}/log?attempt=1&attempt=2&offset=0`, token, byte)).toMatchObject({ status: 400 });
    expect(await post(`tasks/${taskId}/log?attempt=1&offset=0`, null, byte)).toMatchObject({ status: 401 });
    expect(gateway.logs.size).toBe(0);
  });
});
