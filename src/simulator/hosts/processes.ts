/** Finds and ends every process of a simulated instance, also those that have left their session and parent. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitMs } from '../../model/waits.ts';

/** The variable that marks a process as part of an instance; children inherit it. */
export const INSTANCE_VARIABLE = 'SPILLWAY_SIMULATED_INSTANCE';

const ROUND_PAUSE_MS = 20;

/**
 * Kills until none is left: a process may fork between the look and the kill, so one pass is not enough.
 * Gives false when some were still there after `limitMs`.
 */
export async function killInstanceProcesses(
  instanceId: string,
  directory: string,
  limitMs = waitMs('simulator.processes'),
): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < limitMs; waitedMs += ROUND_PAUSE_MS) {
    const pids = listInstanceProcesses(instanceId, directory);
    if (pids.length === 0) return true;
    for (const pid of pids) kill(pid);
    await sleep(ROUND_PAUSE_MS);
  }
  return false;
}

/** Process ids that bear the instance's mark or work in its directory (a process can wipe its environment). */
export function listInstanceProcesses(instanceId: string, directory: string): number[] {
  const mark = `${INSTANCE_VARIABLE}=${instanceId}`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => {
      const cwd = readOrEmpty(() => readlinkSync(`/proc/${name}/cwd`));
      if (cwd === directory || cwd.startsWith(`${directory}/`)) return true;
      return readOrEmpty(() => readFileSync(`/proc/${name}/environ`, 'latin1'))
        .split('\0')
        .includes(mark);
    })
    .map(Number);
}

/** Processes end while one looks at them, and those of other users cannot be looked at: both are none of ours. */
function readOrEmpty(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // ESRCH: it ended by itself between the look and the kill, which is all we want.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
