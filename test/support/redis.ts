import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findServerProgram, freePort } from './server-program.ts';
import { until } from './wait.ts';

/** Null when this machine has none: `describe.skipIf(redisProgram === null)`. Looked for when a test file imports this. */
export const redisProgram = findServerProgram({ name: 'redis-server', debianPackage: 'redis-server' });

export interface TestRedis {
  readonly url: string;
  readonly port: number;
  /** For SIGSTOP and the like. */
  readonly process: ChildProcess;
  stop(): Promise<void>;
}

/** A Redis of its own on a free port: nothing on disk, `noeviction` unless told otherwise. */
export async function startRedis(
  options: { readonly maxmemoryPolicy?: string; readonly port?: number } = {},
): Promise<TestRedis> {
  if (redisProgram === null) throw new Error('there is no redis-server here: guard the suite with redisProgram');
  const folder = await mkdtemp(join(tmpdir(), 'spillway-redis-'));
  const port = options.port ?? (await freePort());
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder,
    save: '',
    appendonly: 'no',
    'maxmemory-policy': options.maxmemoryPolicy ?? 'noeviction',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn(redisProgram, args, { stdio: 'ignore' });
  // A test run that dies takes its Redis along.
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  await until('redis-server answers', async () => child.exitCode === null && (await answersPing(port)));
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    process: child,
    stop: async () => {
      process.off('exit', kill);
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function answersPing(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
  socket.setTimeout(1_000, () => resolve(false));
  socket.once('data', (data) => resolve(data.toString().startsWith('+PONG')));
  socket.once('error', () => resolve(false));
  return promise.finally(() => socket.destroy());
}
