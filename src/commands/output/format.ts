import type { Resources } from '../../model/resources.ts';
import { formatDuration } from '../../model/units.ts';

/** Seconds as people say them: `41s`, `4m12s`, `2h`, `3d4h`; two units at most. */
export function humanSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  // Below an hour seconds matter, above it minutes, above a day hours.
  const step = whole >= 86_400 ? 3600 : whole >= 3600 ? 60 : 1;
  return formatDuration((whole - (whole % step)) * 1000);
}

/** Age of an RFC 3339 moment. */
export function humanAge(at: string, nowMs: number): string {
  return humanSeconds((nowMs - Date.parse(at)) / 1000);
}

/** A decimal amount with thousands separated and `places` decimals, rounded half up on the decimal digits themselves. */
export function humanUsd(amount: string, places = 2): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(amount);
  if (match === null) return amount;
  const [, sign = '', whole = '0', fraction = ''] = match;
  const digits = `${whole}${fraction.padEnd(places + 1, '0').slice(0, places + 1)}`;
  const rounded = (BigInt(digits) + 5n) / 10n;
  const text = rounded.toString().padStart(places + 1, '0');
  const integer = text.slice(0, text.length - places).replaceAll(/\B(?=(\d{3})+$)/g, ',');
  return `${rounded === 0n ? '' : sign}${integer}${places > 0 ? `.${text.slice(-places)}` : ''}`;
}

/** An amount of machine: `2 cores, 4 GiB`, `8 cores, 32 GiB, 1 GPU`. EC2 calls cores `vCPU`. */
export function shape({ cpuMilli, memoryMib, gpus }: Resources, unit: 'cores' | 'vCPU' = 'cores'): string {
  const devices = gpus === 0 ? '' : `, ${gpus} GPU${gpus === 1 ? '' : 's'}`;
  return `${cores(cpuMilli)} ${unit}, ${gib(memoryMib)} GiB${devices}`;
}

/** Cores of milli-CPU: `1280`, `0.5`. */
export function cores(cpuMilli: number): string {
  return String(cpuMilli / 1000);
}

/** MiB as GiB with one decimal at most: `512`, `1.5`. */
export function gib(memoryMib: number): string {
  return String(Number((memoryMib / 1024).toFixed(1)));
}
