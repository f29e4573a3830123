import { sql } from 'kysely';

import type { Charge } from '../cost/charges.ts';
import { nanoUsdToDecimal } from '../model/money.ts';
import type { MachineId } from '../model/ids.ts';
import type { Market } from '../model/offering.ts';
import type { LedgerStore } from '../ports/ledger.ts';
import { dbNow, inTransaction, toMs, type Db, type Tx } from './database.ts';
import { readPastRuns } from './machine-runs.ts';

/** The append-only ledger; `charged_through` on the machine moves with the charges in one transaction. */
export function createLedgerStore(db: Db): LedgerStore {
  return {
    async listChargeable(chargedBeforeMs, limit) {
      const rows = await db
        .selectFrom('machines')
        .select(['id', 'workload', 'instance_type', 'zone', 'market', 'volume_gib', 'price_usd_per_hour'])
        .select([
          'launch_time',
          'pending_seen_at',
          'running_seen_at',
          'ended_at',
          'end_code',
          'charged_through',
          'observed_at',
          'run',
          'run_launch_time',
          'stopped_at',
        ])
        .where((eb) =>
          eb.or([
            // Ended: once more, to the end. `charged_through` reaches at least the end when that is done.
            // One that ended before it ran owes its volume at least.
            sql<boolean>`ended_at is not null and launch_time is not null and (charged_through is null or charged_through < ended_at)`,
            sql<boolean>`ended_at is null and running_seen_at is not null and coalesce(charged_through, running_seen_at) < ${new Date(chargedBeforeMs)}::timestamptz`,
          ]),
        )
        .orderBy('id')
        .limit(limit)
        .execute();
      const pastRuns = await readPastRuns(db, rows);
      return rows.map((row) => ({
        machineId: row.id as MachineId,
        workload: row.workload,
        instanceType: row.instance_type,
        zone: row.zone,
        market: row.market as Market,
        volumeGib: row.volume_gib,
        priceUsdPerHour: row.price_usd_per_hour,
        launchTimeMs: toMs(row.launch_time),
        pendingSeenAtMs: toMs(row.pending_seen_at),
        runningSeenAtMs: toMs(row.running_seen_at),
        run: row.run,
        runLaunchTimeMs: toMs(row.run_launch_time),
        stoppedAtMs: toMs(row.stopped_at),
        pastRuns: pastRuns.get(row.id) ?? [],
        observedAtMs: toMs(row.observed_at),
        endedAtMs: toMs(row.ended_at),
        endCode: row.end_code,
        chargedThroughMs: toMs(row.charged_through),
      }));
    },

    append: async (machineId, span, charges) =>
      await inTransaction(db, async (tx) => await appendCharges(tx, machineId, span, charges)),

    ...spotPriceMethods(db),

    async databaseNowMs() {
      const row = await db.selectNoFrom(dbNow().as('now')).executeTakeFirstOrThrow();
      return toMs(row.now);
    },
  };
}

async function appendCharges(
  tx: Tx,
  machineId: MachineId,
  span: { readonly from: number | null; readonly to: number },
  charges: readonly Charge[],
): Promise<boolean> {
  const moved = await tx
    .updateTable('machines')
    .set({ charged_through: new Date(span.to) })
    .where('id', '=', machineId)
    .where(
      sql<boolean>`charged_through is not distinct from ${span.from === null ? null : new Date(span.from)}::timestamptz`,
    )
    .returning('id')
    .executeTakeFirst();
  if (moved === undefined) return false;
  if (charges.length === 0) return true;
  await tx
    .insertInto('charges')
    .values(
      charges.map((charge) => ({
        machine_id: charge.machineId,
        workload: charge.workload,
        kind: charge.kind,
        run: charge.run,
        instance_type: charge.instanceType,
        market: charge.market,
        zone: charge.zone,
        from_at: new Date(charge.fromMs),
        to_at: new Date(charge.toMs),
        quantity_seconds: charge.quantitySeconds,
        unit_price_usd_per_hour: nanoUsdToDecimal(charge.unitPricePerHour),
        amount_usd: nanoUsdToDecimal(charge.amount),
        price_source: charge.priceSource,
        recorded_at: dbNow(),
      })),
    )
    .execute();
  return true;
}

function spotPriceMethods(db: Db): Pick<LedgerStore, 'recordSpotPrices' | 'readSpotPrices' | 'listLatestSpotPrices'> {
  return {
    async recordSpotPrices(prices) {
      if (prices.length === 0) return;
      await sql`
        insert into spillway.spot_prices (instance_type, zone, at, price_usd_per_hour)
        select * from unnest(
          ${prices.map((p) => p.instanceType)}::text[], ${prices.map((p) => p.zone)}::text[],
          ${prices.map((p) => new Date(p.atMs).toISOString())}::timestamptz[], ${prices.map((p) => p.priceUsdPerHour.toFixed(6))}::numeric[])
        on conflict do nothing`.execute(db);
    },

    async readSpotPrices(instanceType, zone, sinceMs) {
      const rows = await db
        .selectFrom('spot_prices')
        .select(['at', 'price_usd_per_hour'])
        .where('instance_type', '=', instanceType)
        .where('zone', '=', zone)
        .where(
          'at',
          '>=',
          sql<Date>`coalesce((select max(at) from spillway.spot_prices
            where instance_type = ${instanceType} and zone = ${zone} and at <= ${new Date(sinceMs)}::timestamptz), '-infinity'::timestamptz)`,
        )
        .orderBy('at')
        .execute();
      return rows.map((row) => ({
        instanceType,
        zone,
        atMs: toMs(row.at),
        priceUsdPerHour: Number(row.price_usd_per_hour),
      }));
    },

    async listLatestSpotPrices() {
      const rows = await db
        .selectFrom('spot_prices')
        .distinctOn(['instance_type', 'zone'])
        .select(['instance_type', 'zone', 'at', 'price_usd_per_hour'])
        .orderBy('instance_type')
        .orderBy('zone')
        .orderBy('at', 'desc')
        .execute();
      return rows.map((row) => ({
        instanceType: row.instance_type,
        zone: row.zone,
        atMs: toMs(row.at),
        priceUsdPerHour: Number(row.price_usd_per_hour),
      }));
    },
  };
}
