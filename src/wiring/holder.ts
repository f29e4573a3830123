import { readFileSync, readlinkSync } from 'node:fs';

import type { Ids } from '../ports/ids.ts';

/** The boot of this kernel and the namespace of our process numbers: where a process number means one process. */
interface Realm {
  readonly boot: string;
  readonly namespace: string;
}

/** The 22nd field of /proc/PID/stat, and the state before it; proc(5) numbers what follows the name in parentheses from 3. */
const STATE_FIELD = 0;
const START_FIELD = 19;

/**
 * The name of this process in the leader's lease: `BOOT/NAMESPACE/PID/START/RANDOM`. Whoever runs on the same machine can tell
 * from it whether its holder is still there. Without /proc it is a random name, of which nobody can tell anything.
 */
export function nameHolder(ids: Pick<Ids, 'hex'>): string {
  const realm = readRealm();
  const started = readStart(process.pid);
  if (realm === null || started === null) return `${process.pid}-${ids.hex(8)}`;
  return [realm.boot, realm.namespace, process.pid, started, ids.hex(8)].join('/');
}

/**
 * True only when the holder's process provably does not exist any more: it ran under this very boot of this kernel, among the
 * processes that we can see, and its number is free or another process's. A stopped process exists; what ran on another
 * machine or in another container may exist.
 */
export function isHolderGone(holder: string): boolean {
  const [boot, namespace, pid, started] = holder.split('/');
  const realm = readRealm();
  if (realm === null || boot !== realm.boot || namespace !== realm.namespace) return false;
  if (pid === undefined || !/^[1-9]\d{0,9}$/.test(pid) || started === undefined) return false;
  if (!exists(Number(pid))) return true;
  const now = readStart(Number(pid));
  return now !== null && now !== started;
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Anything but "no such process" leaves the question open, above all EPERM: another user's process.
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH');
  }
}

/** When a living process started, in ticks since the boot; `ended` for one that only waits to be collected; null = unknown. */
function readStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[STATE_FIELD] === 'Z' ? 'ended' : (fields[START_FIELD] ?? null);
  } catch {
    // No /proc, or not for us to see: unknown.
    return null;
  }
}

function readRealm(): Realm | null {
  try {
    return {
      boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
      namespace: readlinkSync('/proc/self/ns/pid'),
    };
  } catch {
    // Not Linux, or no /proc: no realm to compare.
    return null;
  }
}
