import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';

import { POLICY_TEXT } from '../policy/documents.ts';

const SPILLWAY = fileURLToPath(new URL('../../bin/spillway', import.meta.url));
/** Nothing listens on port 1 of loopback. */
const NOWHERE = '127.0.0.1:1';

let folder = '';
let busy: { readonly port: number; close(): void };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spw-bad-'));
  await mkdir(join(folder, 'none'));
  await writeFile(join(folder, 'bad.yaml'), POLICY_TEXT.replace('maxWait: 60s', 'maxWait: soon'));
  await writeFile(join(folder, 'keyless.yaml'), POLICY_TEXT.replace('/etc/spillway/id', '/nowhere/id_ed25519'));
  await writeFile(join(folder, 'damaged.key'), 'not a key\n');
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  busy = { port: typeof address === 'object' && address !== null ? address.port : 0, close: () => server.close() };
});

afterAll(async () => {
  busy.close();
  await rm(folder, { recursive: true, force: true });
});

function wrongPassword(): string {
  return Object.assign(new URL(inject('postgresAdminUrl')), { password: 'wrong' }).href;
}

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function serve(env: Readonly<Record<string, string>>): Promise<Ended> {
  return await new Promise((resolve) => {
    const settings = {
      PATH: process.env['PATH'],
      SPILLWAY_DATA_DIR: join(folder, 'data'),
      SPILLWAY_POLICIES: join(folder, 'none'),
      SPILLWAY_LISTEN: '127.0.0.1:0',
      SPILLWAY_AGENT_LISTEN: '127.0.0.1:0',
      SPILLWAY_LOG_LEVEL: 'error',
      ...env,
    };
    execFile(SPILLWAY, ['serve'], { env: settings, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, stdout, stderr });
    });
  });
}

/** Each row: what is wrong, the settings, the exit code, and the error's code. */
describe('a service that cannot start says so in one sentence with a remedy', () => {
  test.each<[string, () => Record<string, string>, number, string]>([
    [
      'Postgres is not there',
      () => ({ DATABASE_URL: `postgres://spillway@${NOWHERE}/spillway` }),
      6,
      'DATABASE_UNREACHABLE',
    ],
    ['the database password is wrong', () => ({ DATABASE_URL: wrongPassword() }), 6, 'DATABASE_AUTH'],
    ['Redis is not there', () => ({ QUEUE_URL: `redis://${NOWHERE}` }), 6, 'QUEUE_UNREACHABLE'],
    ['the operator port is taken', () => ({ SPILLWAY_LISTEN: `127.0.0.1:${busy.port}` }), 6, 'PORT_IN_USE'],
    ['the agents’ port is taken', () => ({ SPILLWAY_AGENT_LISTEN: `127.0.0.1:${busy.port}` }), 6, 'PORT_IN_USE'],
    ['a policy is wrong', () => ({ SPILLWAY_POLICIES: join(folder, 'bad.yaml') }), 2, 'POLICY_INVALID'],
    ['the login key is missing', () => ({ SPILLWAY_POLICIES: join(folder, 'keyless.yaml') }), 2, 'POLICY_INVALID'],
    ['the policies are not there', () => ({ SPILLWAY_POLICIES: join(folder, 'nothing') }), 2, 'POLICY_UNREADABLE'],
    ['the deployment key is damaged', () => ({ SPILLWAY_KEY_FILE: join(folder, 'damaged.key') }), 2, 'CONFIG_KEY_FILE'],
    ['a setting is misspelt', () => ({ SPILLWAY_LISTN: 'x' }), 2, 'CONFIG_INVALID'],
  ])('%s', async (_, env, exitCode, code) => {
    const ended = await serve(env());
    expect({ code: ended.code, stdout: ended.stdout }).toEqual({ code: exitCode, stdout: '' });
    expect(ended.stderr).toMatch(new RegExp(`^error: [^\\n]+.*\\(${code}\\)$`, 'ms'));
    expect(ended.stderr).toMatch(/^fix: \S/m);
    expect(ended.stderr).not.toMatch(/^\s+at .*:\d+:\d+/m);
  });
});
