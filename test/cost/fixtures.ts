import type { BilledMachine } from '../../src/cost/charges.ts';
import { nanoUsdFromDecimal } from '../../src/model/money.ts';

/** Midnight, the first of a 30-day month. */
export const START = Date.UTC(2026, 10, 1);
export const SECOND = 1000;
export const HOUR = 3600 * SECOND;

/** Seen running exactly at START; without a volume; $3.60 an hour, so that a second costs a tenth of a cent. */
export function billed(options: Partial<BilledMachine> = {}): BilledMachine {
  return {
    machineId: 'mc-000000000001',
    workload: 'ci',
    instanceType: 'm6a.xlarge',
    zone: 'eu-central-1a',
    market: 'on-demand',
    volumeGib: 0,
    pricePerHour: nanoUsdFromDecimal('3.6'),
    spotPrices: [],
    launchAtMs: START,
    pendingSeenAtMs: null,
    runningSeenAtMs: START,
    endedAtMs: null,
    endCode: null,
    chargedThroughMs: null,
    ...options,
  };
}

export function sum(charges: readonly { readonly amount: bigint }[]): bigint {
  return charges.reduce((total, { amount }) => total + amount, 0n);
}
