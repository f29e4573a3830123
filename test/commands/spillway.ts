import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test as base } from '../support/database.ts';
import type { OperatorActions } from '../../src/ports/operator.ts';
import { startableApi } from '../server/operator-api/service.ts';

export const SPILLWAY = fileURLToPath(new URL('../../bin/spillway', import.meta.url));

export interface Finished {
  readonly stdout: string;
  readonly stderr: string;
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Only what the program needs, so that the settings of whoever runs the tests change nothing. */
function environment(extra: Readonly<Record<string, string>>): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: tmpdir(), ...extra };
}

/** Starts the real command line as a child; its output is collected. */
export function startSpillway(
  args: readonly string[],
  options: RunOptions = {},
): { readonly child: ChildProcess; readonly output: () => Finished; readonly finished: Promise<Finished> } {
  const child = spawn(SPILLWAY, args, {
    cwd: options.cwd ?? tmpdir(),
    env: environment(options.env ?? {}),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ stdout, stderr, exitCode }));
  });
  return { child, finished, output: () => ({ stdout, stderr, exitCode: child.exitCode }) };
}

/** Runs the real command line to its end. */
export async function spillway(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return startSpillway(args, options).finished;
}

export interface ServiceFixture {
  /** Runs the command line against the service. */
  run(...args: string[]): Promise<Finished>;
  start(...args: string[]): ReturnType<typeof startSpillway>;
  readonly api: ReturnType<typeof startableApi>;
  readonly socketPath: string;
}

/** `test` with the real operator API on a Unix socket, over a real database. `actions` replaces single actions of the service. */
export const test = base.extend<{ actions: Partial<OperatorActions>; service: ServiceFixture }>({
  // eslint-disable-next-line no-empty-pattern -- vitest reads the names of the fixtures from this pattern
  actions: async ({}, use) => use({}),
  service: async ({ db, actions }, use) => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-cli-'));
    const socketPath = join(folder, 's.sock');
    const api = startableApi(db, actions);
    await api.app.listen({ path: socketPath });
    const env = { SPILLWAY_SOCKET: socketPath };
    await use({
      api,
      socketPath,
      run: async (...args) => spillway(args, { env, cwd: folder }),
      start: (...args) => startSpillway(args, { env, cwd: folder }),
    });
    await api.app.close();
    await rm(folder, { recursive: true, force: true });
  },
});
