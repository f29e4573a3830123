import { mkdir, mkdtemp, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';
import type { Ids } from '../ports/ids.ts';
import { type EmbeddedRunner, embeddedError } from './embedded-runner.ts';

/** The only role; superuser of a server that listens on loopback alone. */
export const EMBEDDED_USER = 'spillway';
const PASSWORD_FILE = 'spillway-password';
/** A fresh cluster takes 40 MB and its first write-ahead log 16 MB; below this, starting only fails later and worse. */
const FREE_BYTES_MIN = 200 * 1024 * 1024;

/** A folder made by initdb, and the password of its only role. */
export interface Cluster {
  readonly path: string;
  readonly password: string;
}

/**
 * The cluster in `<dataDir>/postgres`, made there when there is none. Safe when several processes do it at once:
 * each makes its own beside it and one rename wins, so a half-made cluster is never seen, whenever a process dies.
 * @throws AppError DATABASE_EMBEDDED for a folder of another version or of something else, and for a full disk.
 */
export async function ensureCluster(dataDir: string, runner: EmbeddedRunner, ids: Ids): Promise<Cluster> {
  try {
    // Others may pass through, not look in, and only where Postgres is one of the others.
    await mkdir(dataDir, { recursive: true, mode: runner.mode === 'nobody' ? 0o711 : 0o700 });
    await runner.reach(dataDir);
    return await openCluster(dataDir, runner, ids);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === null || error instanceof AppError) throw error;
    throw embeddedError(`The folder ${dataDir} cannot hold a database (${errno})`, {
      remedy: 'Check its permissions and its disk, or set SPILLWAY_DATA_DIR to another folder.',
      cause: error,
      details: { dataDir, errno },
    });
  }
}

async function openCluster(dataDir: string, runner: EmbeddedRunner, ids: Ids): Promise<Cluster> {
  const path = join(dataDir, 'postgres');
  const version = await readOptional(join(path, 'PG_VERSION'));
  if (version === null) await createCluster(dataDir, path, { runner, ids });
  else requireVersion(path, Number.parseInt(version, 10), runner.majorVersion);
  const password = await readOptional(join(path, PASSWORD_FILE));
  if (password === null) {
    throw embeddedError(`${path} holds a Postgres cluster that spillway did not make: ${PASSWORD_FILE} is missing`, {
      remedy: 'Set SPILLWAY_DATA_DIR to another folder, or DATABASE_URL to the server that owns this cluster.',
      details: { path },
    });
  }
  return { path, password: password.trim() };
}

function requireVersion(path: string, found: number, brought: number): void {
  if (found === brought) return;
  throw embeddedError(`${path} was made by Postgres ${found}, and this spillway brings Postgres ${brought}`, {
    remedy: `Move ${path} away to start afresh, or dump it with a Postgres ${found} and load the dump into a server named by DATABASE_URL.`,
    details: { path, found, brought },
  });
}

async function createCluster(
  dataDir: string,
  path: string,
  context: { readonly runner: EmbeddedRunner; readonly ids: Ids },
): Promise<void> {
  await requireEmptyOrMissing(path);
  await requireSpace(dataDir);
  const staging = await mkdtemp(join(dataDir, '.init-'));
  try {
    await context.runner.own(staging);
    const passwordFile = join(staging, 'password');
    await writeFile(passwordFile, `${context.ids.hex(24)}\n`, { mode: 0o600 });
    await context.runner.own(passwordFile);
    const made = join(staging, 'cluster');
    await runInitdb(context.runner, { made, path, passwordFile });
    await rename(passwordFile, join(made, PASSWORD_FILE));
    await moveIntoPlace(made, path);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

async function runInitdb(
  runner: EmbeddedRunner,
  { made, path, passwordFile }: { readonly made: string; readonly path: string; readonly passwordFile: string },
): Promise<void> {
  const result = await runner.run(
    'initdb',
    [
      `--pgdata=${made}`,
      `--username=${EMBEDDED_USER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--no-locale',
      '--no-instructions',
      // The first checkpoint of the server makes it durable; until then there is nothing to lose.
      '--no-sync',
    ],
    waitMs('embedded.initdb'),
  );
  if (result.exitCode === 0) return;
  // initdb ends with what it cleans up; the cause stands before, marked by the server or by initdb. Only shown, never decided on.
  const lines = result.output.split('\n').filter((line) => line.trim() !== '');
  const cause = lines.find((line) => /FATAL:|error:/.test(line)) ?? lines.at(-1) ?? 'no output';
  throw embeddedError(`initdb could not make a cluster in ${path}: ${cause.trim()}`, {
    remedy:
      'Check that the disk has free space and that this user has a name in /etc/passwd, or set DATABASE_URL to a Postgres server of your own.',
    details: { output: result.output, exitCode: result.exitCode, mode: runner.mode },
  });
}

/** The rename is the moment a cluster exists; when another process was first, its cluster stands and ours is dropped. */
async function moveIntoPlace(made: string, path: string): Promise<void> {
  try {
    await rename(made, path);
  } catch (error) {
    const code = errnoOf(error);
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
}

async function requireEmptyOrMissing(path: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  if (names.length === 0) return;
  throw embeddedError(`${path} holds other files, so no database is made there`, {
    remedy: 'Empty the folder or set SPILLWAY_DATA_DIR to another one.',
    details: { path, example: names[0] },
  });
}

async function requireSpace(dataDir: string): Promise<void> {
  const disk = await statfs(dataDir);
  const freeBytes = disk.bavail * disk.bsize;
  if (freeBytes >= FREE_BYTES_MIN) return;
  const freeMib = Math.floor(freeBytes / 2 ** 20);
  throw embeddedError(
    `The disk of ${dataDir} has ${freeMib} MiB free; the embedded Postgres needs ${FREE_BYTES_MIN / 2 ** 20} MiB`,
    {
      remedy: 'Free space, or set SPILLWAY_DATA_DIR to a folder on another disk.',
      details: { dataDir, freeBytes },
    },
  );
}

/** The text of a file, or null when it does not exist. */
export async function readOptional(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

/** The errno name of a system error, e.g. `ENOENT`; null for anything else. */
export function errnoOf(error: unknown): string | null {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' ? code : null;
}
