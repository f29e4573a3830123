/**
 * Goal: the list of waits is the list that the code uses and the tests show.
 * Method: source text. A number that stands where only the list may speak, or a wait that no test names, fails here.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { VARIABLES } from '../../src/config/variables.ts';
import { ERROR_CODES } from '../../src/model/errors.ts';
import { formatDuration } from '../../src/model/units.ts';
import { renderWaitsDocs } from '../../src/model/waits-docs.ts';
import { WAITS, waitMs } from '../../src/model/waits.ts';
import type { Wait } from '../../src/model/wait.ts';
import { DEFAULT_EC2_TIMEOUTS } from '../../src/cloud/ec2-client.ts';
import { QUEUE_WAITS } from '../../src/queue/queue-store.ts';
import { AGENT_API_LIMITS } from '../../src/server/agent-api/create-agent-api.ts';
import { WAIT_SECONDS_MAX } from '../../src/server/agent-api/protocol.ts';
import { OPERATOR_API_WAITS } from '../../src/server/operator-api/options.ts';
import { WIRE_WAITS } from '../../src/simulator/wire/server.ts';
import { SSHD_WAITS } from '../../src/simulator/hosts/openssh-host.ts';
import { DEFAULT_SHELL_LIMITS } from '../../src/ssh/shell.ts';
import { EMBEDDED_WAITS } from '../../src/store/embedded-server.ts';
import { clientConfig } from '../../src/store/pool.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

function textsOf(folder: string, ending: string): { readonly path: string; readonly text: string }[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => ({ path: join(folder, name), text: readFileSync(join(ROOT, folder, name), 'utf8') }));
}

describe('each wait of the list', () => {
  test('is shown to end by a test', () => {
    const calls = textsOf('test', '.test.ts').flatMap(({ text }) => [
      ...text.matchAll(/\bshows\(\s*(\[[^\]]*\]|'[^']*')/g),
    ]);
    const shown = new Set(calls.flatMap(([, names = '']) => [...names.matchAll(/'([^']+)'/g)].map(([, name]) => name)));
    expect(Object.keys(WAITS).filter((name) => !shown.has(name))).toEqual([]);
  });

  test.for(Object.entries<Wait>(WAITS))('%s is a number with words', ([name, wait]) => {
    expect(name).toMatch(/^[a-z]+(?:-[a-z]+)*\.[a-z]+(?:-[a-z]+)*$/);
    expect(wait.ms).toBeGreaterThan(0);
    expect(Number.isInteger(wait.ms)).toBe(true);
    expect(wait.waitsFor).toMatch(/\w/);
    expect(wait.end).toMatch(/\w/);
    expect([undefined, ...Object.keys(ERROR_CODES)]).toContain(wait.code);
  });

  test('is used by the code that it is about', () => {
    const sources = textsOf('src', '.ts').filter(({ path }) => !path.startsWith('src/model/waits'));
    // These numbers stand in a file of `sh`, or follow from others.
    const elsewhere = /^(?:agent|dns)\.|^redis\.connect$/;
    const unused = Object.keys(WAITS).filter(
      (name) => !elsewhere.test(name) && !sources.some(({ text }) => text.includes(`waitMs('${name}')`)),
    );
    expect(unused).toEqual([]);
  });
});

test('options have the numbers of the list as their defaults', () => {
  const client = clientConfig('postgres://nowhere', { applicationName: 'spillway-test' });
  const used = {
    'postgres.connect': client.connectionTimeoutMillis,
    'postgres.statement': client.statement_timeout,
    'postgres.answer': client.query_timeout,
    'postgres.lock': client.lock_timeout,
    'postgres.idle-transaction': client.idle_in_transaction_session_timeout,
    'embedded.start': EMBEDDED_WAITS.startMs,
    'embedded.connect': EMBEDDED_WAITS.connectMs,
    'embedded.answer': EMBEDDED_WAITS.answerMs,
    'embedded.stop': EMBEDDED_WAITS.stopMs,
    'embedded.quit': EMBEDDED_WAITS.quitMs,
    'redis.connect': QUEUE_WAITS.connectMs,
    'redis.command': QUEUE_WAITS.commandMs,
    'redis.silence': QUEUE_WAITS.silenceMs,
    'queue.statement': QUEUE_WAITS.statementMs,
    'queue.answer': QUEUE_WAITS.answerMs,
    'queue.lock': QUEUE_WAITS.lockMs,
    'queue.idle-transaction': QUEUE_WAITS.idleInTransactionMs,
    'queue.idle-connection': QUEUE_WAITS.idleConnectionMs,
    'queue.close': QUEUE_WAITS.closeMs,
    'aws.connect': DEFAULT_EC2_TIMEOUTS.connectMs,
    'aws.request': DEFAULT_EC2_TIMEOUTS.requestMs,
    'aws.call': DEFAULT_EC2_TIMEOUTS.callMs,
    'aws.listing': DEFAULT_EC2_TIMEOUTS.listMs,
    'ssh.connect': DEFAULT_SHELL_LIMITS.connectMs,
    'ssh.keepalive': DEFAULT_SHELL_LIMITS.keepaliveMs,
    'ssh.upload': DEFAULT_SHELL_LIMITS.uploadMs,
    'agent-api.headers': AGENT_API_LIMITS.headersMs,
    'agent-api.request': AGENT_API_LIMITS.requestMs,
    'agent-api.hold': WAIT_SECONDS_MAX * 1000,
    'agent-api.silence': AGENT_API_LIMITS.silenceMs,
    'agent-api.idle': AGENT_API_LIMITS.idleMs,
    'agent-api.close': AGENT_API_LIMITS.closeMs,
    'operator-api.headers': OPERATOR_API_WAITS.headersMs,
    'operator-api.request': OPERATOR_API_WAITS.requestMs,
    'operator-api.handler': OPERATOR_API_WAITS.handlerMs,
    'operator-api.probe': OPERATOR_API_WAITS.probeMs,
    'operator-api.silence': OPERATOR_API_WAITS.silenceMs,
    'operator-api.idle': OPERATOR_API_WAITS.idleMs,
    'operator-api.close': OPERATOR_API_WAITS.closeMs,
    'simulator.headers': WIRE_WAITS.headersMs,
    'simulator.request': WIRE_WAITS.requestMs,
    'simulator.idle': WIRE_WAITS.idleMs,
    'simulator.sshd-start': SSHD_WAITS.startMs,
    'simulator.sshd-stop': SSHD_WAITS.stopMs,
  } as const satisfies Partial<Record<keyof typeof WAITS, unknown>>;
  const published = Object.fromEntries(Object.keys(used).map((name) => [name, WAITS[name as keyof typeof WAITS].ms]));
  expect(used).toEqual(published);
  const variable = VARIABLES.find(({ name }) => name === 'SPILLWAY_AWS_REQUEST_TIMEOUT');
  expect(variable?.default).toBe(formatDuration(waitMs('aws.request')));
});

test('numbers that depend on each other keep their order', () => {
  expect(waitMs('agent-api.headers')).toBeLessThanOrEqual(waitMs('agent-api.request'));
  expect(waitMs('operator-api.headers')).toBeLessThanOrEqual(waitMs('operator-api.request'));
  expect(waitMs('simulator.headers')).toBeLessThanOrEqual(waitMs('simulator.request'));
  expect(waitMs('agent-api.hold')).toBeLessThan(waitMs('agent-api.silence'));
  // A stopped holder's transaction ends before another leads, and so does a stalled process.
  expect(waitMs('postgres.idle-transaction')).toBeLessThan(waitMs('leader.lease') / 2);
  expect(waitMs('leader.renewal')).toBeLessThan(waitMs('leader.mandate'));
  expect(waitMs('leader.mandate')).toBeLessThan(waitMs('leader.lease'));
  expect(waitMs('service.stop-part')).toBeLessThan(waitMs('service.stop'));
  expect(waitMs('ssh.hook') * 2 + waitMs('ssh.join') + waitMs('ssh.ready-command')).toBeLessThan(waitMs('step.run'));
  expect(waitMs('redis.silence')).toBeGreaterThan(10_000);
});

test('the page of the list has each of them', () => {
  const page = renderWaitsDocs();
  for (const name of Object.keys(WAITS)) expect(page).toContain(`| \`${name}\` |`);
});

/** Where Node, pg, ioredis, the SDK, Fastify and ssh2 are told how long to wait. */
const TOLD =
  /\b(?:connectionTimeoutMillis|idleTimeoutMillis|statement_timeout|query_timeout|lock_timeout|idle_in_transaction_session_timeout|transaction_timeout|connectTimeout|commandTimeout|socketTimeout|connectionTimeout|requestTimeout|headersTimeout|keepAliveTimeout|handlerTimeout|readyTimeout|keepaliveInterval|timeout|deadlineMs|waitMs)\s*[:=]\s*[^,;\n]*\b\d[\d_]*/g;
const CALLED =
  /\bAbortSignal\.timeout\(\s*[^)\n]*\b\d|\.setTimeout\(\s*\d|\bsetTimeout\([^;]*?,\s*\d[\d_]*\s*\)|\bsleep\(\s*\d/g;
/** A constant that says by its name that it bounds a wait. */
const NAMED =
  /\bconst \w*(?:DEADLINE|TIMEOUT|WITHIN|CONNECT|COMMAND|STATEMENT|SESSION|HOOK|PROBE|ANSWER|CLOSE|STOP|HEADERS|REQUEST|LOGIN)\w*_MS(?:_MAX)? = [^;]*\b\d/g;

/** Lines that no list needs to hold, each with its reason. */
const ALLOWED: readonly string[] = [
  // Deadlines of rows: the list of states has them (`state-waits.ts`).
  'src/model/machine.ts',
  'src/model/state-waits.ts',
  // The lists themselves.
  'src/model/wait.ts',
  'src/model/waits-reaching.ts',
  'src/model/waits-serving.ts',
  // Waits of the simulation: virtual, or of the real sessions it drives, whose own deadlines are off.
  'src/chaos/',
  // The schema and defaults of policies, which set deadlines of rows.
  'src/policy/',
];

function rawWaits(code: string): string[] {
  const plain = code.replaceAll(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/[^\n]*/g, ' ');
  return [TOLD, CALLED, NAMED]
    .flatMap((pattern) => plain.match(pattern) ?? [])
    .filter((hit) => !hit.includes('waitMs('));
}

describe('raw waits', () => {
  test('are found in every form', () => {
    const forms = [
      'connectionTimeoutMillis: 5_000,',
      'query_timeout: statementMs + 1_000,',
      'server.requestTimeout = 15_000;',
      'timeout: 300,',
      'AbortSignal.timeout(60_000)',
      'AbortSignal.timeout(60 * SECOND_MS)',
      'setTimeout(() => stop(), 500)',
      'socket.setTimeout(1000, gone)',
      'await sleep(20)',
      'const CLOSE_MS = 5_000;',
      'const START_DEADLINE_MS = 2 * SECOND_MS;',
    ];
    expect(forms.filter((form) => rawWaits(form).length === 0)).toEqual([]);
    expect(rawWaits("deadlineMs: waitMs('ssh.hook'), // 9 minutes\n/* timeout: 5 */")).toEqual([]);
  });

  test('stand nowhere in the code', () => {
    const found = textsOf('src', '.ts')
      .filter(({ path }) => !ALLOWED.some((prefix) => path.startsWith(prefix)))
      .flatMap(({ path, text }) => rawWaits(text).map((hit) => `${path}: ${hit}`));
    expect(found).toEqual([]);
  });
});
