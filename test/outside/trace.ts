import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Between two signs of life of a running task: what is killed without a word has lived at most this much longer. */
export const BEAT_MS = 250;
/** `/proc/uptime` counts hundredths of a second. */
const CENTI = 10;

/**
 * A task that keeps its own diary: one file per attempt, one line per sign of life, on the one clock of this machine that nobody
 * can set. Nothing of Spillway writes or reads it.
 */
export function tracedCommand(folder: string, seconds: number): readonly string[] {
  return [
    'sh',
    '-c',
    `set -u
file=$1/$SPILLWAY_TASK_ID.$SPILLWAY_TASK_ATTEMPT.$$
note() { read -r up _ </proc/uptime; echo "$1 \${up%.*}\${up#*.} \${SPILLWAY_SIMULATED_INSTANCE:-local}" >>"$file"; }
note start
beats=0
while [ $beats -lt ${Math.round((seconds * 1000) / BEAT_MS)} ]; do
  sleep ${BEAT_MS / 1000}
  beats=$((beats + 1))
  note beat
done
note end`,
    'traced',
    folder,
  ];
}

/** One process of one attempt of a task, as its diary tells. */
export interface Run {
  readonly taskId: string;
  readonly attempt: number;
  /** Null on a machine of the datacenter. */
  readonly instanceId: string | null;
  readonly fromMs: number;
  /** Of its last word. */
  readonly toMs: number;
  /** False when it was cut off. */
  readonly ended: boolean;
}

/** Every run, with times of the wall clock, in the order of their starts. */
export async function readRuns(folder: string): Promise<readonly Run[]> {
  const bootMs = Date.now() - Number((await readFile('/proc/uptime', 'utf8')).split(' ')[0]) * 1000;
  const names = await readdir(folder);
  const runs = await Promise.all(
    names.map(async (name) => toRun(name, await readFile(join(folder, name), 'utf8'), bootMs)),
  );
  return runs.filter((run) => run !== null).toSorted((a, b) => a.fromMs - b.fromMs);
}

function toRun(name: string, text: string, bootMs: number): Run | null {
  const [taskId = '', attempt = ''] = name.split('.');
  const words = text
    .split('\n')
    .filter(Boolean)
    .map((line) => line.split(' '));
  const times = words.map(([, centi = '']) => bootMs + Number(centi) * CENTI);
  const [first] = words;
  // Killed between making the file and its first line: it has not begun.
  if (first === undefined) return null;
  return {
    taskId,
    attempt: Number(attempt),
    instanceId: first[2] === 'local' || first[2] === undefined ? null : first[2],
    fromMs: Math.min(...times),
    toMs: Math.max(...times),
    ended: words.some(([word]) => word === 'end'),
  };
}
