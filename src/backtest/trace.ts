import { quoteValue } from '../model/units.ts';
import type { CsvRow } from './records.ts';
import { FileProblems, parseDecimal, readCsv, readLines } from './records.ts';
import type { Amount, Trace, TraceTask } from './types.ts';
import { amountKey } from './types.ts';

/** Memory of a core when a log does not say: the ratio of EC2's compute-optimized families, the cheapest per core. */
export const DEFAULT_MIB_PER_CORE = 2048;
/** Thirty years: longer than any log, and with nine decimals still exact enough. */
const SECONDS_MAX = 1e9;
const CORES_MAX = 1e6;
const MEMORY_MAX_MIB = 1e9;
const GPUS_MAX = 1e4;
const MIB_PER_KIB = 1 / 1024;

/** Reads a trace in the form its content has: SWF has no header of names. `name` is what messages call it. */
export function readTrace(text: string, name: string): Trace {
  return isSwf(text) ? readSwfTrace(text, name) : readCsvTrace(text, name);
}

/** SWF begins with `;` comments, or with a line of eighteen numbers. */
function isSwf(text: string): boolean {
  const first = /\S[^\n]*/.exec(text.slice(0, 65_536))?.[0] ?? '';
  return first.startsWith(';') || /^-?[\d.]+(?:\s+-?[\d.]+){10,}\s*$/.test(first);
}

/**
 * CSV `submit_s,run_s,cores,mem_mb,gpus,queue` with a header; the last three columns may be missing, -1 is unknown. A task
 * without a run time or cores cannot be replayed and is counted as skipped. @throws AppError INPUT_INVALID
 */
export function readCsvTrace(text: string, name: string): Trace {
  const problems = new FileProblems(name);
  const tasks = new TaskList();
  const columns = { required: ['submit_s', 'run_s', 'cores'], optional: ['mem_mb', 'gpus', 'queue'] };
  for (const row of readCsv(text, columns, problems)) {
    const submitS = cell(row, problems, { column: 'submit_s', max: SECONDS_MAX });
    const runS = cell(row, problems, { column: 'run_s', max: SECONDS_MAX });
    const cores = cell(row, problems, { column: 'cores', max: CORES_MAX });
    const memoryMib = cell(row, problems, { column: 'mem_mb', max: MEMORY_MAX_MIB });
    const gpus = cell(row, problems, { column: 'gpus', max: GPUS_MAX });
    if (submitS === null && row.get('submit_s') === '-1') problems.add(row.number, 'submit_s must be known');
    tasks.add({ submitS, runS, cores, memoryMib, gpus, queue: row.get('queue') });
  }
  problems.throwIfAny();
  return tasks.finish(name);
}

/**
 * The Standard Workload Format of the Parallel Workloads Archive: fields 2 submit, 4 run, 5 or 8 processors, 10 or 7 memory
 * in KiB per processor, 15 queue. Cancelled jobs have no run time and are skipped. @throws AppError INPUT_INVALID
 */
export function readSwfTrace(text: string, name: string): Trace {
  const problems = new FileProblems(name);
  const tasks = new TaskList();
  for (const { number, text: line } of readLines(text, problems)) {
    if (line.startsWith(';')) continue;
    const fields = line.split(/\s+/).map((field) => parseDecimal(field, -1, Number.MAX_SAFE_INTEGER));
    if (fields.length < 11) problems.add(number, `${fields.length} fields where SWF has eighteen`);
    else if (fields.includes(null)) problems.add(number, `${quoteValue(line)} is not a line of numbers`);
    else tasks.add(swfTask(fields));
  }
  problems.throwIfAny();
  return tasks.finish(name);
}

/** A trace of tasks that were read elsewhere; those that cannot be replayed are counted as skipped. */
export function makeTrace(name: string, tasks: Iterable<RawTask>): Trace {
  const list = new TaskList();
  for (const task of tasks) list.add(task);
  return list.finish(name);
}

function swfTask(fields: readonly (number | null)[]): RawTask {
  const known = (field: number): number | null => {
    const value = fields[field - 1] ?? -1;
    return value > 0 ? value : null;
  };
  const cores = known(5) ?? known(8);
  const kibPerCore = known(10) ?? known(7);
  const queue = known(15);
  return {
    submitS: Math.max(0, fields[1] ?? 0),
    runS: known(4),
    cores,
    memoryMib: kibPerCore === null || cores === null ? null : kibPerCore * MIB_PER_KIB * cores,
    gpus: 0,
    queue: queue === null ? '' : `q${queue}`,
  };
}

/** A task as a log has it: null = unknown. */
export interface RawTask {
  readonly submitS: number | null;
  readonly runS: number | null;
  readonly cores: number | null;
  readonly memoryMib: number | null;
  readonly gpus: number | null;
  readonly queue: string;
  /** It may never leave the datacenter. Absent = it may. */
  readonly staysLocal?: boolean;
}

interface CellSpec {
  readonly column: string;
  readonly max: number;
}

/** Null: unknown, or wrong and noted. */
function cell(row: CsvRow, problems: FileProblems, { column, max }: CellSpec): number | null {
  const text = row.get(column);
  if (text === '' || text === '-1') return null;
  const value = parseDecimal(text, 0, max);
  if (value === null) {
    problems.add(row.number, `${column} ${quoteValue(text)} is not a number from 0 to ${max} (-1 = unknown)`);
  }
  return value;
}

/** Tasks as they are read; equal needs become one object. */
class TaskList {
  readonly #tasks: TraceTask[] = [];
  readonly #needs = new Map<string, Amount>();
  #skipped = 0;

  add({ submitS, runS, cores, memoryMib, gpus, queue, staysLocal }: RawTask): void {
    if (submitS === null || runS === null || cores === null || cores === 0) {
      this.#skipped += 1;
      return;
    }
    const need = this.#intern({
      cpuMilli: Math.max(1, Math.round(cores * 1000)),
      memoryMib: Math.ceil(memoryMib ?? cores * DEFAULT_MIB_PER_CORE),
      gpuMilli: Math.round((gpus ?? 0) * 1000),
    });
    this.#tasks.push({ submitS, runS, need, queue, ...(staysLocal === true ? { staysLocal } : {}) });
  }

  finish(name: string): Trace {
    return { name, tasks: this.#tasks.sort((a, b) => a.submitS - b.submitS), skipped: this.#skipped };
  }

  #intern(need: Amount): Amount {
    const key = amountKey(need);
    const known = this.#needs.get(key) ?? need;
    this.#needs.set(key, known);
    return known;
  }
}
