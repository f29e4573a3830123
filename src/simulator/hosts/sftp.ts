/** SFTP version 3 for one login, jailed in the instance's directory. */
import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import {
  constants,
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  truncate,
  utimes,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Attributes, FileEntry, SFTPWrapper } from 'ssh2';
import ssh2 from 'ssh2';

const { STATUS_CODE, OPEN_MODE } = ssh2.utils.sftp;

const HANDLES_MAX = 256;
/** Clients ask for 32 KiB; the protocol lets them ask for anything. */
const READ_BYTES_MAX = 256 * 1024;

type Handle =
  | { readonly kind: 'file'; readonly file: FileHandle }
  | { readonly kind: 'directory'; readonly path: string; isRead: boolean };

/** A refusal with an SFTP status; everything else becomes one by its errno. */
class SftpRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const STATUS_OF_ERRNO: Readonly<Record<string, number>> = {
  ENOENT: STATUS_CODE.NO_SUCH_FILE,
  ENOTDIR: STATUS_CODE.NO_SUCH_FILE,
  EACCES: STATUS_CODE.PERMISSION_DENIED,
  EPERM: STATUS_CODE.PERMISSION_DENIED,
};

/**
 * Paths are relative to the directory. An absolute path inside the real directory means itself, so that what REALPATH
 * tells works in commands too; any other absolute path is taken from the directory as if that were the root.
 */
export async function resolveInside(directory: string, path: string): Promise<string> {
  const isOwn = path === directory || path.startsWith(`${directory}/`);
  const wanted = isOwn ? resolve(path) : resolve(directory, `.${resolve('/', path)}`);
  if (wanted !== directory && !wanted.startsWith(`${directory}/`)) throw escapeRefusal(path);
  // The last part may not exist yet, or be a link to be removed; the folder it is in must be inside for real.
  const parent = wanted === directory ? wanted : dirname(wanted);
  const real = await realpath(parent);
  if (real !== directory && !real.startsWith(`${directory}/`)) throw escapeRefusal(path);
  return wanted === directory ? directory : join(real, basename(wanted));
}

function escapeRefusal(path: string): SftpRefusal {
  return new SftpRefusal(STATUS_CODE.PERMISSION_DENIED, `${path} leads out of the instance`);
}

/** As {@link resolveInside}, for what follows a link at the end of the path; a link to nowhere is refused, not created. */
async function resolveTarget(directory: string, path: string): Promise<string> {
  const inside = await resolveInside(directory, path);
  const target = await realpath(inside).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (target !== null) {
    if (target !== directory && !target.startsWith(`${directory}/`)) throw escapeRefusal(path);
    return target;
  }
  if (await exists(inside)) throw escapeRefusal(path);
  return inside;
}

/** True for anything of that name, also a link that leads nowhere. */
function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

/** Serves the SFTP subsystem until the channel closes. */
export function serveSftp(sftp: SFTPWrapper, directory: string): void {
  const handles = new Map<string, Handle>();
  const answer = (reqId: number, act: () => Promise<void>): void => {
    act().catch((error: unknown) => {
      const errno = (error as NodeJS.ErrnoException).code ?? '';
      const status = error instanceof SftpRefusal ? error.status : (STATUS_OF_ERRNO[errno] ?? STATUS_CODE.FAILURE);
      sftp.status(reqId, status, error instanceof Error ? error.message : String(error));
    });
  };
  const done = (reqId: number): void => sftp.status(reqId, STATUS_CODE.OK);
  serveFiles({ sftp, directory, handles, answer, done });
  serveFolders({ sftp, directory, handles, answer, done });
  serveAttributes({ sftp, directory, handles, answer, done });
  sftp.on('close', () => {
    for (const handle of handles.values()) {
      if (handle.kind === 'file') handle.file.close().catch(() => handles.clear());
    }
    handles.clear();
  });
}

interface Service {
  readonly sftp: SFTPWrapper;
  readonly directory: string;
  readonly handles: Map<string, Handle>;
  readonly answer: (reqId: number, act: () => Promise<void>) => void;
  readonly done: (reqId: number) => void;
}

function addHandle({ handles }: Service, handle: Handle): Buffer {
  const id = randomBytes(4);
  handles.set(id.toString('hex'), handle);
  return id;
}

function findHandle<K extends Handle['kind']>({ handles }: Service, id: Buffer, kind: K): Extract<Handle, { kind: K }> {
  const handle = handles.get(id.toString('hex'));
  if (handle?.kind !== kind) throw new SftpRefusal(STATUS_CODE.FAILURE, 'no such handle');
  return handle as Extract<Handle, { kind: K }>;
}

function requireRoom({ handles }: Service): void {
  if (handles.size >= HANDLES_MAX) throw new SftpRefusal(STATUS_CODE.FAILURE, 'too many open handles');
}

function serveFiles(service: Service): void {
  const { sftp, directory, handles, answer, done } = service;
  sftp.on('OPEN', (reqId, path, flags, attrs) =>
    answer(reqId, async () => {
      requireRoom(service);
      const file = await open(await resolveTarget(directory, path), openFlags(flags), (attrs.mode ?? 0o644) & 0o777);
      sftp.handle(reqId, addHandle(service, { kind: 'file', file }));
    }),
  );
  sftp.on('READ', (reqId, id, offset, length) =>
    answer(reqId, async () => {
      const { file } = findHandle(service, id, 'file');
      const buffer = Buffer.alloc(Math.min(length, READ_BYTES_MAX));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
      if (bytesRead === 0) return sftp.status(reqId, STATUS_CODE.EOF);
      sftp.data(reqId, buffer.subarray(0, bytesRead));
    }),
  );
  sftp.on('WRITE', (reqId, id, offset, data) =>
    answer(reqId, async () => {
      const { file } = findHandle(service, id, 'file');
      let written = 0;
      while (written < data.length) {
        const { bytesWritten } = await file.write(data, written, data.length - written, offset + written);
        written += bytesWritten;
      }
      done(reqId);
    }),
  );
  sftp.on('CLOSE', (reqId, id) =>
    answer(reqId, async () => {
      const handle = handles.get(id.toString('hex'));
      if (handle === undefined) throw new SftpRefusal(STATUS_CODE.FAILURE, 'no such handle');
      handles.delete(id.toString('hex'));
      if (handle.kind === 'file') await handle.file.close();
      done(reqId);
    }),
  );
  sftp.on('REMOVE', (reqId, path) =>
    answer(reqId, async () => {
      await rm(await resolveInside(directory, path));
      done(reqId);
    }),
  );
}

/** SFTP's open flags in those of the operating system. */
function openFlags(flags: number): number {
  const reads = (flags & OPEN_MODE.READ) !== 0;
  const writes = (flags & OPEN_MODE.WRITE) !== 0;
  const access = reads && writes ? constants.O_RDWR : writes ? constants.O_WRONLY : constants.O_RDONLY;
  const pairs: readonly (readonly [number, number])[] = [
    [OPEN_MODE.APPEND, constants.O_APPEND],
    [OPEN_MODE.CREAT, constants.O_CREAT],
    [OPEN_MODE.TRUNC, constants.O_TRUNC],
    [OPEN_MODE.EXCL, constants.O_EXCL],
  ];
  return pairs.reduce((all, [asked, given]) => ((flags & asked) === 0 ? all : all | given), access);
}

function serveFolders(service: Service): void {
  const { sftp, directory, answer, done } = service;
  sftp.on('OPENDIR', (reqId, path) =>
    answer(reqId, async () => {
      requireRoom(service);
      const folder = await resolveTarget(directory, path);
      if (!(await stat(folder)).isDirectory()) throw new SftpRefusal(STATUS_CODE.FAILURE, `${path} is not a directory`);
      sftp.handle(reqId, addHandle(service, { kind: 'directory', path: folder, isRead: false }));
    }),
  );
  sftp.on('READDIR', (reqId, id) =>
    answer(reqId, async () => {
      const handle = findHandle(service, id, 'directory');
      if (handle.isRead) return sftp.status(reqId, STATUS_CODE.EOF);
      handle.isRead = true;
      const names = await readdir(handle.path);
      const entries = await Promise.all(names.map((name) => entryOf(handle.path, name)));
      sftp.name(reqId, entries);
    }),
  );
  sftp.on('MKDIR', (reqId, path, attrs) =>
    answer(reqId, async () => {
      await mkdir(await resolveInside(directory, path), { mode: (attrs.mode ?? 0o755) & 0o777 });
      done(reqId);
    }),
  );
  sftp.on('RMDIR', (reqId, path) =>
    answer(reqId, async () => {
      await rmdir(await resolveInside(directory, path));
      done(reqId);
    }),
  );
  sftp.on('RENAME', (reqId, from, to) =>
    answer(reqId, async () => {
      const [source, target] = [await resolveInside(directory, from), await resolveInside(directory, to)];
      // Version 3 of the protocol never overwrites, and OpenSSH's server does not either.
      if (await exists(target)) throw new SftpRefusal(STATUS_CODE.FAILURE, `${to} exists`);
      await rename(source, target);
      done(reqId);
    }),
  );
  sftp.on('REALPATH', (reqId, path) =>
    answer(reqId, async () => {
      sftp.name(reqId, [{ filename: await resolveInside(directory, path), longname: '', attrs: noAttributes() }]);
    }),
  );
}

function serveAttributes(service: Service): void {
  const { sftp, directory, answer, done } = service;
  sftp.on('STAT', (reqId, path) =>
    answer(reqId, async () => sftp.attrs(reqId, attributesOf(await stat(await resolveTarget(directory, path))))),
  );
  sftp.on('LSTAT', (reqId, path) =>
    answer(reqId, async () => sftp.attrs(reqId, attributesOf(await lstat(await resolveInside(directory, path))))),
  );
  sftp.on('FSTAT', (reqId, id) =>
    answer(reqId, async () => sftp.attrs(reqId, attributesOf(await findHandle(service, id, 'file').file.stat()))),
  );
  sftp.on('SETSTAT', (reqId, path, attrs) =>
    answer(reqId, async () => {
      const target = await resolveTarget(directory, path);
      const { mode, size, atime, mtime } = attrs as Partial<Attributes>;
      if (mode !== undefined) await chmod(target, mode & 0o777);
      if (size !== undefined) await truncate(target, size);
      if (atime !== undefined && mtime !== undefined) await utimes(target, atime, mtime);
      done(reqId);
    }),
  );
  sftp.on('FSETSTAT', (reqId, id, attrs) =>
    answer(reqId, async () => {
      const { file } = findHandle(service, id, 'file');
      const { mode, size, atime, mtime } = attrs as Partial<Attributes>;
      if (mode !== undefined) await file.chmod(mode & 0o777);
      if (size !== undefined) await file.truncate(size);
      if (atime !== undefined && mtime !== undefined) await file.utimes(atime, mtime);
      done(reqId);
    }),
  );
  for (const request of ['READLINK', 'SYMLINK', 'EXTENDED'] as const) {
    sftp.on(request, (reqId: number) => sftp.status(reqId, STATUS_CODE.OP_UNSUPPORTED));
  }
}

async function entryOf(folder: string, name: string): Promise<FileEntry> {
  const stats = await lstat(join(folder, name));
  const kind = stats.isDirectory() ? 'd' : '-';
  return {
    filename: name,
    longname: `${kind}rw-r--r-- 1 root root ${stats.size} Jan 1 00:00 ${name}`,
    attrs: attributesOf(stats),
  };
}

function attributesOf({ mode, uid, gid, size, atimeMs, mtimeMs }: Stats): Attributes {
  return { mode, uid, gid, size, atime: Math.floor(atimeMs / 1000), mtime: Math.floor(mtimeMs / 1000) };
}

function noAttributes(): Attributes {
  return { mode: 0, uid: 0, gid: 0, size: 0, atime: 0, mtime: 0 };
}
