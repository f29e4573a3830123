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

/** A moment to the minute, which is what cron can say: `2026-11-23T07:00Z`. */
export function minuteText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16)}Z`;
}

/** `1 machine`, `3 machines`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
