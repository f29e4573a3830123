import { readdir, readFile } from 'node:fs/promises';
import { cpus } from 'node:os';

/** Linux counts CPU time of processes in hundredths of a second. */
const TICK_MS = 10;

/** What a figure depends on and a reader cannot see: processor and Node. */
export function describeMachine(): string {
  const all = cpus();
  return `${all.length} cores ${all[0]?.model.trim() ?? 'unknown'}, Node ${process.versions.node}`;
}

/** CPU time that all processes of this machine have used since it started, in ms: tells what else ran beside a measurement. */
export async function readMachineCpuMs(): Promise<number> {
  const [first = ''] = (await readFile('/proc/stat', 'utf8')).split('\n');
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = first.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq) * TICK_MS;
}

interface ProcessTimes {
  readonly parent: number;
  /** Its own and that of children it has collected. */
  readonly cpuMs: number;
}

/** CPU time that a process has used so far, user and system, in ms. @throws when it is gone */
export async function readCpuMs(pid: number): Promise<number> {
  return (await readTimes(pid)).cpuMs;
}

/** Resident memory of a process in MiB. @throws when it is gone */
export async function readRssMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
}

/** CPU time of a server and all processes below it, ended ones included. */
export async function readTreeCpuMs(pid: number): Promise<number> {
  const numbers = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const times = await Promise.all(
    numbers.map(async (number) => {
      try {
        return { number, ...(await readTimes(number)) };
      } catch (error) {
        // It ended between the listing and the reading.
        if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH'))
          return null;
        throw error;
      }
    }),
  );
  return times.reduce(
    (sum, one) => (one !== null && (one.number === pid || one.parent === pid) ? sum + one.cpuMs : sum),
    0,
  );
}

async function readTimes(pid: number): Promise<ProcessTimes> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The second field is the name in parentheses, which may hold blanks; proc(5) numbers what follows from 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const field = (number: number): number => Number(fields[number - 3]);
  const ticks = field(14) + field(15) + field(16) + field(17);
  return { parent: field(4), cpuMs: ticks * TICK_MS };
}
