import { MINUTE_MS } from './time.ts';

/**
 * Money is kept in whole nano-dollars (1e-9 USD) as bigint, because a ledger that adds up floats does not add up.
 * One nano-dollar per hour is far below any price step EC2 has (1e-6), so that a per-second charge loses nothing visible.
 */
export type NanoUsd = bigint;

/** EC2 bills each start of an instance for a minute at least (its pricing page, per-second billing). */
export const BILLED_MIN_MS = MINUTE_MS;

const NANO_PER_USD = 1_000_000_000n;
const SECONDS_PER_HOUR = 3600n;

/** Parses a decimal string such as `0.0416` or `-12.5`; more than nine decimals are refused, not rounded. */
export function nanoUsdFromDecimal(text: string): NanoUsd {
  const match = /^(-?)(\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (match === null) throw new RangeError(`not a decimal amount with at most nine places: ${JSON.stringify(text)}`);
  const [, sign = '', whole = '0', fraction = ''] = match;
  const nano = BigInt(whole) * NANO_PER_USD + BigInt(fraction.padEnd(9, '0'));
  return sign === '-' ? -nano : nano;
}

/** A price from a float such as the SDK's or a policy's; rounded to the nano-dollar. */
export function nanoUsdFromNumber(usd: number): NanoUsd {
  if (!Number.isFinite(usd)) throw new RangeError(`not a finite amount: ${usd}`);
  return BigInt(Math.round(usd * 1e9));
}

/** Exact decimal with nine places, the form Postgres `numeric` takes and JSON carries: `0.041600000`. */
export function nanoUsdToDecimal(nano: NanoUsd): string {
  const absolute = nano < 0n ? -nano : nano;
  const fraction = (absolute % NANO_PER_USD).toString().padStart(9, '0');
  return `${nano < 0n ? '-' : ''}${absolute / NANO_PER_USD}.${fraction}`;
}

/** For display and statistics only: a float does not add up. */
export function nanoUsdToNumber(nano: NanoUsd): number {
  return Number(nano) / 1e9;
}

/** Cost of whole seconds at an hourly price, rounded half up to the nano-dollar. */
export function costOfSeconds(pricePerHour: NanoUsd, seconds: number): NanoUsd {
  if (!Number.isSafeInteger(seconds) || seconds < 0) throw new RangeError(`not whole seconds: ${seconds}`);
  return (pricePerHour * BigInt(seconds) + SECONDS_PER_HOUR / 2n) / SECONDS_PER_HOUR;
}
