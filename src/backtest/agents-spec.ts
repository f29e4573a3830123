import { AppError } from '../model/errors.ts';
import { quoteValue } from '../model/units.ts';
import { FileProblems, parseDecimal, readCsv } from './records.ts';
import { DEFAULT_MIB_PER_CORE } from './trace.ts';
import type { Amount } from './types.ts';

/** More local agents than any datacenter of one scheduler has. */
const AGENTS_MAX = 200_000;
const MIB_PER_GIB = 1024;
const SPEC = /^(?:(\d{1,6})x)?(\d{1,6}(?:\.\d{1,3})?)c(?:(\d{1,7}(?:\.\d{1,3})?)g)?(?:(\d{1,4})gpu)?$/;

/**
 * The local agents of a spec such as `60x16c64g` or `2x96c768g8gpu,1x32c256g`: count, cores, memory in GiB, GPUs. Without
 * memory a core has 2 GiB, as in traces; `none` is no agent at all. @throws AppError USAGE
 */
export function parseAgentsSpec(spec: string): readonly Amount[] {
  if (spec === 'none') return [];
  const agents: Amount[] = [];
  for (const part of spec.split(',')) {
    const [, count = '1', cores = '', gib, gpus = '0'] = SPEC.exec(part.trim()) ?? wrongPart(part);
    const cpuMilli = Math.round(Number(cores) * 1000);
    if (cpuMilli === 0) wrongPart(part);
    const memoryMib = gib === undefined ? (cpuMilli / 1000) * DEFAULT_MIB_PER_CORE : Number(gib) * MIB_PER_GIB;
    addAgents(agents, Number(count), {
      cpuMilli,
      memoryMib: Math.floor(memoryMib),
      gpuMilli: Number(gpus) * 1000,
    });
  }
  return agents;
}

function wrongPart(part: string): never {
  throw new AppError('USAGE', `${quoteValue(part)} is not a kind of agent`, {
    remedy: 'Write COUNTxCORESc[GIBg][GPUSgpu], several with commas: 60x16c64g or 2x96c768g8gpu,1x32c256g.',
  });
}

/** Local agents from a CSV file `cores,mem_mb,gpus`, one a line or with `count`. @throws AppError INPUT_INVALID */
export function readAgentsFile(text: string, name: string): readonly Amount[] {
  const problems = new FileProblems(name);
  const agents: Amount[] = [];
  const columns = { required: ['cores', 'mem_mb'], optional: ['gpus', 'count', 'node', 'gpu_model'] };
  for (const row of readCsv(text, columns, problems)) {
    const read = (column: string, fallback: string, max: number): number => {
      const value = row.get(column) === '' ? fallback : row.get(column);
      const number = parseDecimal(value, 0, max);
      if (number === null) problems.add(row.number, `${column} ${quoteValue(value)} is not a number from 0 to ${max}`);
      return number ?? 0;
    };
    addAgents(agents, Math.floor(read('count', '1', AGENTS_MAX)), {
      cpuMilli: Math.round(read('cores', '', 1e6) * 1000),
      memoryMib: Math.floor(read('mem_mb', '', 1e9)),
      gpuMilli: Math.round(read('gpus', '0', 1e4) * 1000),
    });
  }
  problems.throwIfAny();
  return agents;
}

function addAgents(agents: Amount[], count: number, capacity: Amount): void {
  if (agents.length + count > AGENTS_MAX) {
    throw new AppError('USAGE', `more than ${AGENTS_MAX} local agents`, { remedy: 'Describe a smaller datacenter.' });
  }
  for (let index = 0; index < count; index += 1) agents.push(capacity);
}
