/**
 * SSH by the installed `ssh`, for what the ssh2 package lacks: host certificates and post-quantum key exchange. One master
 * process per session holds the connection; each script is a client of it. All files are in a folder of this session alone.
 */
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '../model/errors.ts';
import type { ShellHop } from '../ports/shell.ts';
import { raceAbort } from './abort.ts';
import { authError, nameOf, reach, unreachable, wrongKeyError } from './connect.ts';
import { readTrustFile } from './known-hosts.ts';
import { readLogin } from './login.ts';
import { pushNewKey } from './pushed-key.ts';
import { aliasOf, renderConfig, renderKnownHosts, type PreparedHop } from './openssh-config.ts';
import { collectSaid, endGroup, readKex, startSsh, startTethered, type SshChild } from './openssh-process.ts';
import { createOpensshSession } from './openssh-session.ts';
import type { Transport, TransportOptions } from './transport.ts';
import { readPins } from './trust.ts';

/** What the master writes once it is logged in and takes clients. */
const READY = 'spillway-ready';
const AUTHORITY = /^(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*/;

export function createOpensshTransport(options: TransportOptions): Transport {
  let kex: Promise<readonly string[]> | null = null;
  /** Asked once; asked again when there was no answer. */
  const knownKex = async (): Promise<readonly string[]> => {
    kex ??= readKex();
    try {
      return await kex;
    } catch (error) {
      kex = null;
      throw error;
    }
  };
  return {
    open: async (target, control) => {
      const hops = [...target.jumps, target];
      return await withFolder(hops, { options, knownKex, signal: control.signal }, async (folder) => {
        const keyFile = await pushKeyFile(target, join(folder, `id-${hops.length - 1}`), control.signal);
        const master = await startMaster(folder, { hops, keyFile, options, control });
        const session = createOpensshSession({ target, folder, options, control, alias: aliasOf(hops.length - 1) });
        return {
          session,
          close: async () => {
            await endGroup(master);
            await rm(folder, { recursive: true, force: true });
          },
        };
      });
    },
    isOpen: async (route, control) => {
      if (route.jumps.length === 0) {
        (await reach(null, route, options, control.signal)).destroy();
        return true;
      }
      return await withFolder(route.jumps, { options, knownKex, signal: control.signal }, async (folder) => {
        const last = aliasOf(route.jumps.length - 1);
        const child = startSsh(['-F', join(folder, 'config'), '-W', `${route.host}:${route.port}`, last]);
        try {
          await firstBytes(child, { hops: route.jumps, signal: control.signal });
          return true;
        } finally {
          await endGroup(child);
          await rm(folder, { recursive: true, force: true });
        }
      });
    },
  };
}

interface Preparing {
  readonly options: TransportOptions;
  readonly knownKex: () => Promise<readonly string[]>;
  readonly signal: AbortSignal;
}

/** A private folder with all that `ssh` reads; gone again when `use` fails. */
async function withFolder<T>(
  hops: readonly ShellHop[],
  { options, knownKex, signal }: Preparing,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const kex = await raceAbort(signal, knownKex());
  const prepared = await raceAbort(signal, Promise.all(hops.map(async (hop) => await prepareHop(hop, options))));
  // mkdtemp makes it 0700. Short, because the path of a socket has 104 characters at most.
  const folder = await mkdtemp(join(tmpdir(), 'sw-ssh-'));
  try {
    await writeFile(
      join(folder, 'config'),
      renderConfig({ folder, hops: prepared.map(({ hop }) => hop), kex, limits: options }),
      {
        mode: 0o600,
      },
    );
    for (const [index, { hop, link }] of prepared.entries()) {
      await writeFile(join(folder, `known-${index}`), renderKnownHosts(hop, index), { mode: 0o600 });
      if (link !== null) await symlink(link, join(folder, `${hop.login === 'file' ? 'id' : 'agent'}-${index}`));
    }
    return await use(folder);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/**
 * For a log-in with a key of its own: pushes it, and writes the private half into the folder of the session, where `ssh` reads it
 * as it reads every other. Null for other log-ins. No jump host is passed yet; with several that are slow the key may be too old, and the session is tried again.
 */
async function pushKeyFile({ login }: ShellHop, file: string, signal: AbortSignal): Promise<string | null> {
  if (login.kind !== 'pushed') return null;
  await writeFile(file, await pushNewKey(login, signal), { mode: 0o600 });
  return file;
}

/** `link`: the key file or the agent's socket, which the folder points to; null = the key is made later. */
async function prepareHop(
  hop: ShellHop,
  { agentSocket }: TransportOptions,
): Promise<{ readonly hop: PreparedHop; readonly link: string | null }> {
  const { host, port, user } = hop;
  const trust: PreparedHop['trust'] =
    hop.trust.kind === 'ca'
      ? { kind: 'ca', authorities: await readAuthorities(hop.trust.file) }
      : { kind: 'keys', pins: await readPins(hop) };
  if (hop.login.kind === 'pushed') return { hop: { host, port, user, trust, login: 'file' }, link: null };
  const login = await readLogin(hop.login, agentSocket);
  const link = 'agent' in login ? login.agent : hop.login.kind === 'file' ? hop.login.file : '';
  return { hop: { host, port, user, trust, login: hop.login.kind }, link };
}

async function readAuthorities(file: string): Promise<readonly string[]> {
  const lines = (await readTrustFile(file)).split('\n').map((line) => line.trim());
  const keys = lines.flatMap((line) => AUTHORITY.exec(line)?.[0] ?? []);
  if (keys.length > 0) return keys;
  throw new AppError('SSH_HOST_KEY', `${file} has no public key of an authority.`, {
    remedy:
      'Write the public key that signs the host certificates there, as ssh-keygen wrote it (ssh-ed25519 AAAA...).',
  });
}

interface MasterParts {
  readonly hops: readonly ShellHop[];
  /** Of the one log-in; null = there is none to remove. */
  readonly keyFile: string | null;
  readonly options: TransportOptions;
  readonly control: AbortController;
}

/** Starts the process that holds the connection, and waits until it is logged in, which is when it needs its key no more. */
async function startMaster(folder: string, { hops, keyFile, options, control }: MasterParts): Promise<SshChild> {
  const socket = join(folder, 'mux');
  const ready = ['-o', 'PermitLocalCommand=yes', '-o', `LocalCommand=echo ${READY}`];
  const alias = aliasOf(hops.length - 1);
  const child = startTethered(['-F', join(folder, 'config'), '-M', '-S', socket, ...ready, '-N', '-T', alias]);
  const phases = (options.connectMs + options.handshakeMs + options.loginMs) * hops.length;
  try {
    await firstBytes(child, { hops, signal: AbortSignal.any([control.signal, AbortSignal.timeout(phases)]) });
    if (keyFile !== null) await rm(keyFile);
  } catch (error) {
    await endGroup(child);
    throw error;
  }
  child.once('exit', () => {
    control.abort(
      new AppError('SSH_UNREACHABLE', `The SSH connection to ${nameOf(hops.at(-1) as ShellHop)} was lost.`, {
        remedy: 'Nothing to do if it happens once; else check the route to the machine and its console output.',
      }),
    );
  });
  return child;
}

/** Waits until the process writes something; throws what its end means when it ends before. */
async function firstBytes(
  child: SshChild,
  { hops, signal }: { readonly hops: readonly ShellHop[]; readonly signal: AbortSignal },
): Promise<void> {
  const said = collectSaid(child);
  const hop = hops.at(-1) as ShellHop;
  const came = new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('error', (cause) => reject(unreachable(hop, cause)));
    // `close`, not `exit`: then all that it said is here.
    child.once('exit', () => setImmediate(() => reject(meaningOf(said(), hop))));
  });
  try {
    await raceAbort(signal, came);
  } catch (error) {
    throw error instanceof AppError ? error : unreachable(hop, error);
  }
}

/**
 * `ssh` ends with 255 whatever went wrong, so that what it says must be read; it speaks English only. These two sentences are
 * its own, and stand on lines of their own; whatever else it says means that one may try again.
 */
function meaningOf(said: string, hop: ShellHop): AppError {
  const cause = new Error(said === '' ? 'ssh ended without a word' : said);
  if (/^Host key verification failed\.\s*$/m.test(said)) return wrongKeyError(hop, { cause, details: {} });
  if (/^\S+: Permission denied \([a-z,-]+\)\.\s*$/m.test(said)) return authError(hop, cause);
  return unreachable(hop, cause);
}
