import type { NanoUsd } from '../model/money.ts';
import type { EpochMs } from '../model/time.ts';
import { HOUR_MS } from '../model/time.ts';
import type { CatalogueType } from '../cost/catalogue.ts';

/** AWS quotes spot prices to a hundredth of a cent. */
const QUOTE_STEP: NanoUsd = 100_000n;

/** Prices bend every six hours and move on a line in between: they drift, as spot prices have since 2017, and do not jump. */
const KNOT_HOURS = 6;

/**
 * The spot price of a type in a zone at a moment: 30 to 50 % of on-demand by type and zone, drifting by up to
 * five points, changing at full hours only. A pure function of its arguments.
 */
export function spotPriceAt(seed: string, type: CatalogueType, zone: string, atMs: EpochMs): NanoUsd {
  const hour = Math.floor(atMs / HOUR_MS);
  const place = `${seed}|${type.name}|${zone}`;
  const base = 0.3 + 0.2 * unitHash(place);
  const knot = Math.floor(hour / KNOT_HOURS);
  const part = (hour - knot * KNOT_HOURS) / KNOT_HOURS;
  const drift = (1 - part) * unitHash(`${place}|${knot}`) + part * unitHash(`${place}|${knot + 1}`);
  const share = base + 0.1 * (drift - 0.5);
  const nano = (type.priceNanoUsdPerHour * BigInt(Math.round(share * 1e6))) / 1_000_000n;
  const quoted = (nano / QUOTE_STEP) * QUOTE_STEP;
  return quoted > 0n ? quoted : QUOTE_STEP;
}

/** Start of the hour after `atMs`: the next moment a spot price may change. */
export function nextPriceChangeMs(atMs: EpochMs): EpochMs {
  return (Math.floor(atMs / HOUR_MS) + 1) * HOUR_MS;
}

/** FNV-1a with a final mix, as a number in [0, 1): even enough for prices and the same on every machine. */
function unitHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
