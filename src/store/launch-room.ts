import { sql } from 'kysely';

import type { LaunchLimits } from '../model/launch.ts';
import type { LaunchId } from '../model/ids.ts';
import type { Tx } from './database.ts';

/** Prices are numeric with six places in the rows and floats in the plan: less than their last place is no difference. */
const ROUNDING_USD = 1e-6;

/** What a workload has or is about to have. */
export interface LiveSums {
  readonly machines: number;
  readonly vcpus: number;
  readonly usdPerHour: number;
}

/**
 * Only one transaction at a time reserves money for a workload: two that looked at the same sum would both find room. To
 * be taken before `readLive`; in one order of names where there are several.
 */
export async function lockMoney(tx: Tx, workload: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('spillway.money'), hashtext(${workload}))`.execute(tx);
}

/** Sums of all live machines of a workload but those of one launch; one that is stopped counts when it is started. */
export async function readLive(tx: Tx, workload: string, except: LaunchId | null = null): Promise<LiveSums> {
  return await tx
    .selectFrom('machines')
    .select(sql<number>`count(*)::int`.as('machines'))
    .select(sql<number>`coalesce(sum(cpu_milli), 0)::float8 / 1000`.as('vcpus'))
    .select(sql<number>`coalesce(sum(price_usd_per_hour), 0)::float8`.as('usdPerHour'))
    .where('workload', '=', workload)
    .where('state', 'not in', ['stopped', 'terminated'])
    .$if(except !== null, (query) => query.where('launch_id', '<>', except))
    .executeTakeFirstOrThrow();
}

/** The limit that these sums break, as a clause; null = none. */
export function brokenLimit(sums: LiveSums, limits: LaunchLimits): string | null {
  const { machinesMax, vcpusMax, hourlyUsdMax } = limits;
  if (sums.machines > machinesMax) return `${sums.machines} machines would live, the limit is ${machinesMax}`;
  if (vcpusMax !== null && sums.vcpus > vcpusMax) return `${sums.vcpus} vCPUs would live, the limit is ${vcpusMax}`;
  if (hourlyUsdMax !== null && sums.usdPerHour > hourlyUsdMax + ROUNDING_USD) {
    return `all machines would cost ${sums.usdPerHour.toFixed(4)} USD per hour, the budget is ${hourlyUsdMax}`;
  }
  return null;
}
