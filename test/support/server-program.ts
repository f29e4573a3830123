import { execFileSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A server of the operating system that some suites need. */
export interface ServerProgram {
  readonly name: string;
  /** Debian's and Ubuntu's package that brings it. */
  readonly debianPackage: string;
}

/**
 * The path of a server's program: from the PATH, or installed from the distribution's packages (root on Debian or Ubuntu).
 * Null when it cannot be had: the suites that need it are skipped, and one line on stderr says so. Under CI=true it throws.
 */
export function findServerProgram(program: ServerProgram): string | null {
  const found = onPath(program.name) ?? installed(program);
  if (found !== null) return found;
  const message = `${program.name} is not installed (Debian: apt-get install ${program.debianPackage})`;
  if (process.env['CI'] === 'true') throw new Error(`${message}, and under CI=true no suite may be skipped`);
  process.stderr.write(`SKIPPED: every test that needs ${program.name}: ${message}\n`);
  return null;
}

function onPath(name: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, name)).find(isExecutable) ?? null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    // Missing and not ours to run come to the same: the next folder is tried.
    return false;
  }
}

function installed(program: ServerProgram): string | null {
  if (process.getuid?.() !== 0 || !isExecutable('/usr/bin/apt-get')) return null;
  process.stderr.write(`installing ${program.debianPackage} with apt-get, because tests need ${program.name}\n`);
  // Two test workers take turns (apt's own lock on its lists does not wait); the second finds the package installed.
  const options = ['-o', 'DPkg::Lock::Timeout=180', '-qq', '-y', '--no-install-recommends'];
  const inTurn = ['--wait', '240', join(tmpdir(), 'spillway-test-apt.lock'), 'apt-get'];
  try {
    for (const verb of [['update'], ['install', program.debianPackage]]) {
      execFileSync('flock', [...inTurn, ...options, ...verb], {
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
        stdio: ['ignore', 'ignore', 'inherit'],
        timeout: 300_000,
      });
    }
  } catch (error) {
    process.stderr.write(`apt-get could not install ${program.debianPackage}: ${String(error)}\n`);
  }
  return onPath(program.name);
}

/** A port of 127.0.0.1 that is free now. Whoever binds it last may still lose it: try again with another. */
export async function freePort(): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const server = createServer();
  server.once('error', reject);
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    server.close(() =>
      typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port')),
    );
  });
  return promise;
}
