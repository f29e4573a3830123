import type { Architecture } from '../model/offering.ts';
import type { Resources } from '../model/resources.ts';

/** A share as a reader says it: `75 %`. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** What a task or machine needs, as a reader says it: `2 vCPU with 4096 MiB and 1 GPU on arm64`. */
export function needText({ cpuMilli, memoryMib, gpus }: Resources, arch: Architecture | null): string {
  const devices = gpus === 0 ? '' : ` and ${countOf(gpus, 'GPU')}`;
  return `${cpuMilli / 1000} vCPU with ${memoryMib} MiB${devices}${arch === null ? '' : ` on ${arch}`}`;
}

/** `1 machine`, `3 machines`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
