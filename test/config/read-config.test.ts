import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readConfig } from '../../src/config/read-config.ts';
import type { Environment } from '../../src/config/read-config.ts';
import type { Config } from '../../src/config/types.ts';
import { VARIABLES } from '../../src/config/variables.ts';
import { AppError } from '../../src/model/errors.ts';

const read = (env: Environment): Config => readConfig(env, { cwd: '/srv' });

function refusal(env: Environment): AppError {
  try {
    read(env);
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(env)}`);
}

/** What reading came to, in a word. */
function outcome(env: Environment): string {
  try {
    return Object.isFrozen(read(env)) ? 'frozen' : 'not frozen';
  } catch (error) {
    return error instanceof AppError ? error.code : String(error);
  }
}

describe('an empty environment', () => {
  test('gives the defaults', () => {
    const { origins, ...config } = read({});
    expect(config).toEqual({
      databaseUrl: null,
      queueUrl: null,
      dataDir: '/srv/.spillway',
      policiesPath: '/srv/policies',
      listen: { host: '127.0.0.1', port: 7777 },
      agentListen: { host: '127.0.0.1', port: 7778 },
      agentUrl: 'http://127.0.0.1:7778',
      agentAllowHttp: false,
      socketPath: '/srv/.spillway/spillway.sock',
      sshAuthSock: null,
      serviceUrl: null,
      keyFile: '/srv/.spillway/deployment.key',
      witnessFile: '/srv/.spillway/witness.json',
      owner: null,
      logLevel: 'info',
      planIntervalMs: 5000,
      observeIntervalMs: 10_000,
      heartbeatIntervalMs: 10_000,
      taskLeaseMs: 60_000,
      retentionMs: 1_209_600_000,
      awsRequestTimeoutMs: 15_000,
    });
    expect(Object.keys(origins)).toEqual(VARIABLES.map(({ name }) => name));
    expect(new Set(Object.values(origins))).toEqual(new Set(['default']));
  });

  test('is what variables set to nothing amount to', () => {
    const empty = Object.fromEntries(VARIABLES.map(({ name }) => [name, '']));
    expect(read({ ...empty, DATABASE_URL_FILE: '', QUEUE_URL_FILE: '' })).toEqual(read({}));
  });

  test('gives a frozen object', () => {
    const config = read({});
    for (const part of [config, config.listen, config.agentListen, config.origins])
      expect(Object.isFrozen(part)).toBe(true);
  });
});

describe('each variable', () => {
  test.each<[Environment, Partial<Config>]>([
    [{ DATABASE_URL: 'postgres://u:p@db/spillway' }, { databaseUrl: 'postgres://u:p@db/spillway' }],
    [
      { DATABASE_URL: 'postgresql:///spillway?host=/run/postgresql' },
      { databaseUrl: 'postgresql:///spillway?host=/run/postgresql' },
    ],
    [{ QUEUE_URL: 'rediss://:p@q:6380/2' }, { queueUrl: 'rediss://:p@q:6380/2' }],
    [
      { SPILLWAY_DATA_DIR: 'data' },
      { dataDir: '/srv/data', socketPath: '/srv/data/spillway.sock', keyFile: '/srv/data/deployment.key' },
    ],
    [
      { SPILLWAY_SOCKET: '/run/s.sock', SPILLWAY_KEY_FILE: 'k' },
      { socketPath: '/run/s.sock', keyFile: '/srv/k' },
    ],
    [{ SPILLWAY_POLICIES: '/etc/p.yaml' }, { policiesPath: '/etc/p.yaml' }],
    [{ SPILLWAY_LISTEN: '0.0.0.0:0' }, { listen: { host: '0.0.0.0', port: 0 } }],
    [{ SPILLWAY_AGENT_LISTEN: '[::1]:80' }, { agentListen: { host: '::1', port: 80 }, agentUrl: 'http://[::1]:80' }],
    [{ SPILLWAY_AGENT_URL: 'https://agents.example/' }, { agentUrl: 'https://agents.example' }],
    [{ SPILLWAY_ADDR: 'https://spillway.example:7777' }, { serviceUrl: 'https://spillway.example:7777' }],
    [{ SPILLWAY_AGENT_ALLOW_HTTP: 'true' }, { agentAllowHttp: true }],
    [{ SPILLWAY_OWNER: 'studio-berlin' }, { owner: 'studio-berlin' }],
    [{ SPILLWAY_LOG_LEVEL: 'debug' }, { logLevel: 'debug' }],
    [{ SPILLWAY_PLAN_INTERVAL: '250ms' }, { planIntervalMs: 250 }],
    [
      { SPILLWAY_HEARTBEAT_INTERVAL: '1s', SPILLWAY_TASK_LEASE: '3s' },
      { heartbeatIntervalMs: 1000, taskLeaseMs: 3000 },
    ],
    [{ SPILLWAY_AWS_REQUEST_TIMEOUT: '1m' }, { awsRequestTimeoutMs: 60_000 }],
  ])('%j', (env, expected) => {
    const config = read(env);
    expect(config).toMatchObject(expected);
    for (const name of Object.keys(env)) expect(config.origins[name]).toBe('environment');
  });

  test('AWS variables and those of other programs are left alone', () => {
    const env = {
      AWS_REGION: 'eu-central-1',
      AWS_ANYTHING: 'x',
      PATH: '/bin',
      SPILLWAY_PROGRESS_FILE: '/tmp/p',
      SPILLWAY_TRACES: '/t',
    };
    const { origins, ...config } = read(env);
    const { origins: none, ...defaults } = read({});
    expect(config).toEqual(defaults);
    expect(origins).toEqual({ ...none, AWS_REGION: 'environment' });
  });
});

describe('a wrong value', () => {
  test.each<[Environment, string, string]>([
    [
      { SPILLWAY_PLAN_INTERVAL: '5' },
      'SPILLWAY_PLAN_INTERVAL is wrong: "5" has no unit',
      'write whole numbers with the units d, h, m, s or ms, such as 90s, 5m or 1h30m',
    ],
    [{ SPILLWAY_PLAN_INTERVAL: '1ms' }, 'SPILLWAY_PLAN_INTERVAL is wrong: 1ms is too short', 'write 100ms to 1h'],
    [
      { SPILLWAY_LOG_LEVEL: 'wran' },
      'SPILLWAY_LOG_LEVEL is wrong: "wran" is not a level',
      'write one of trace, debug, info, warn, error, fatal, silent; did you mean warn?',
    ],
    [
      { SPILLWAY_LISTEN: '7777' },
      'SPILLWAY_LISTEN is wrong: "7777" is not an address with a port',
      'write an address and a port such as 127.0.0.1:7777',
    ],
    [
      { SPILLWAY_LISTEN: 'h:70000' },
      'SPILLWAY_LISTEN port 70000 is above 65535',
      'write an address and a port such as 127.0.0.1:7777',
    ],
    [
      { SPILLWAY_LISTEN: '127.0.0.1:7778' },
      'SPILLWAY_AGENT_LISTEN is the same as SPILLWAY_LISTEN',
      'give one of them another port',
    ],
    [
      { SPILLWAY_ADDR: 'spillway.example' },
      'SPILLWAY_ADDR is not a URL',
      'write a URL such as https://spillway.example:7777',
    ],
    [{ SPILLWAY_ADDR: 'https://h/path' }, 'SPILLWAY_ADDR has a path, query or fragment', 'write https://h'],
    [
      { SPILLWAY_OWNER: 'My Studio' },
      'SPILLWAY_OWNER is wrong: "My Studio" is not an owner name',
      'write 1 to 40 lower-case letters, digits and hyphens, such as studio-berlin',
    ],
    [{ SPILLWAY_KEY_FILE: '~/key' }, 'SPILLWAY_KEY_FILE begins with ~, which is not expanded', 'write the whole path'],
    [
      { SPILLWAY_TASK_LEASE: '12s' },
      'SPILLWAY_TASK_LEASE is shorter than three heartbeats, so that one lost report would cost an agent its tasks',
      'write at least 30s',
    ],
    [
      // A picture of the cloud older than two minutes holds every drain.
      { SPILLWAY_OBSERVE_INTERVAL: '2m' },
      'SPILLWAY_OBSERVE_INTERVAL is wrong: 2m is too long',
      'write 100ms to 1m',
    ],
    [
      { SPILLWAY_DATA_DIR: `/${'d'.repeat(120)}` },
      "SPILLWAY_SOCKET is not set, and SPILLWAY_DATA_DIR gives a path of 135 bytes, and a socket's has at most 107",
      'write a shorter path such as /run/spillway/spillway.sock',
    ],
    [{ SPILLWAY_LISTN: 'x' }, 'SPILLWAY_LISTN is not a variable of Spillway', 'did you mean SPILLWAY_LISTEN?'],
    [
      { SPILLWAY_ZZZZZZZZ: 'x' },
      'SPILLWAY_ZZZZZZZZ is not a variable of Spillway',
      'unset it; .env.example lists every variable',
    ],
  ])('%j', (env, message, remedy) => {
    const error = refusal(env);
    expect({ code: error.code, exitCode: error.exitCode }).toEqual({ code: 'CONFIG_INVALID', exitCode: 2 });
    expect(error.message).toBe(message);
    expect(error.remedy).toBe(remedy);
  });

  test('is reported together with all others, each with its remedy', () => {
    const error = refusal({ SPILLWAY_LISTN: 'x', SPILLWAY_OWNER: '!', SPILLWAY_RETENTION: '1s' });
    expect(error.message).toBe(
      'SPILLWAY_LISTN is not a variable of Spillway; SPILLWAY_OWNER is wrong: "!" is not an owner name; SPILLWAY_RETENTION is wrong: 1s is too short',
    );
    expect(error.remedy).toContain('SPILLWAY_RETENTION: write 1h to 3650d');
    expect(error.details['problems']).toHaveLength(3);
  });

  test.each([
    'mysql://root:hunter2@db/x',
    'hunter2',
    'hunter2:hunter2',
    'postgres://u:hunter2%@db/x',
    'postgres://u:hunter2@db:port/x',
    'redis//:hunter2@q',
  ])('of a secret is never shown: %s', (value) => {
    for (const name of ['DATABASE_URL', 'QUEUE_URL']) {
      const error = refusal({ [name]: value });
      expect(error.message).toMatch(new RegExp(`^${name} `));
      expect(JSON.stringify([error.message, error.remedy, error.details, String(error.cause)])).not.toContain(
        'hunter2',
      );
    }
  });

  test('never gives anything but a configuration or CONFIG_INVALID', () => {
    const name = fc.constantFrom(...VARIABLES.map((variable) => variable.name));
    const value = fc.oneof(
      fc.string(),
      fc.webUrl(),
      fc.constantFrom('5s', '127.0.0.1:1', '[::1]:2', 'http://[', 'postgres://%', '..', '~', '/'),
    );
    fc.assert(
      fc.property(fc.dictionary(name, value), (env) => {
        expect(outcome(env)).toMatch(/^(?:frozen|CONFIG_INVALID)$/);
      }),
      { numRuns: 300 },
    );
  });
});

describe('the _FILE form of a secret', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'spillway-config-'));
    writeFileSync(path.join(folder, 'url'), 'postgres://u:p@db/spillway\n');
    writeFileSync(path.join(folder, 'empty'), '\n');
    writeFileSync(path.join(folder, 'big'), 'x'.repeat(20_000));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test('is read without the line end, and its origin is told', () => {
    const config = read({ DATABASE_URL_FILE: path.join(folder, 'url') });
    expect(config.databaseUrl).toBe('postgres://u:p@db/spillway');
    expect(config.origins['DATABASE_URL']).toBe('file');
  });

  test.each([
    ['missing', 'cannot be read (ENOENT)'],
    ['empty', 'is empty'],
    ['big', 'has 20000 bytes, too many for a setting'],
    ['.', 'cannot be read (EISDIR)'],
  ])('names a bad file: %s', (name, problem) => {
    const file = path.join(folder, name);
    expect(refusal({ DATABASE_URL_FILE: file }).message).toBe(`DATABASE_URL_FILE ${file} ${problem}`);
  });

  test('and the plain form exclude each other', () => {
    const error = refusal({ QUEUE_URL: 'redis://q', QUEUE_URL_FILE: path.join(folder, 'url') });
    expect(error.message).toBe('QUEUE_URL is set, and so is its _FILE form');
  });

  test('is not offered for what is no secret', () => {
    expect(refusal({ SPILLWAY_OWNER_FILE: '/x' }).message).toBe('SPILLWAY_OWNER_FILE is not a variable of Spillway');
  });
});

test('settings of an agent on the same machine are no misspelt ones of the service', () => {
  const agent = readFileSync(new URL('../../src/agent/spillway-agent.sh', import.meta.url), 'utf8');
  const names = [...agent.matchAll(/^ +(SPILLWAY_[A-Z_]+)=\*\)/gm)].map(([, name = '']) => name);
  expect(names).toContain('SPILLWAY_URL');
  expect(() => read(Object.fromEntries(names.map((name) => [name, 'x'])))).not.toThrow();
});
