import { sql, type Selectable, type SelectQueryBuilder } from 'kysely';
import { AppError } from '../model/errors.ts';
import type { MachineId } from '../model/ids.ts';
import type { Market } from '../model/offering.ts';
import type { EpochMs } from '../model/time.ts';
import type { ChargeFacts, ChargeRow, OpenMachineRow } from '../ports/reports.ts';
import type { Database } from './database.generated.ts';
import { inTransaction, toMs, type Db, type Tx } from './database.ts';
import { readPastRuns } from './machine-runs.ts';

/** A thousand machines charged three ways every hour make 72,000 lines a day; two such days are what one answer may hold. */
const CHARGES_MAX = 150_000;
const OPEN_MACHINES_MAX = 10_000;

/** Charges and open machines of one moment, so that no second is in both or in neither. */
export async function readCharges(db: Db, fromMs: EpochMs, toMs_: EpochMs): Promise<ChargeFacts> {
  const range = { from: new Date(fromMs), to: new Date(toMs_) };
  return inTransaction(
    db,
    async (tx) => ({
      charges: await selectCharges(tx, range),
      open: await selectOpenMachines(tx, range),
      nowMs: await readNowMs(tx),
    }),
    'repeatable read',
  );
}

interface Range {
  readonly from: Date;
  readonly to: Date;
}

async function selectCharges(tx: Tx, { from, to }: Range): Promise<ChargeRow[]> {
  const rows = await tx
    .selectFrom('charges')
    .select([
      'machine_id',
      'workload',
      'kind',
      'instance_type',
      'market',
      'zone',
      'from_at',
      'to_at',
      'quantity_seconds',
      'unit_price_usd_per_hour',
      'amount_usd',
    ])
    .where('from_at', '<', to)
    .where('to_at', '>', from)
    .orderBy('from_at')
    .orderBy('id')
    .limit(CHARGES_MAX + 1)
    .execute();
  if (rows.length > CHARGES_MAX) {
    throw new AppError('REFUSED', `the ledger has more than ${CHARGES_MAX} lines in this range`, {
      remedy: 'ask for a shorter range with --from and --to',
    });
  }
  return rows.map((row) => ({
    machineId: row.machine_id as MachineId,
    workload: row.workload,
    kind: row.kind as ChargeRow['kind'],
    instanceType: row.instance_type,
    market: row.market as Market,
    zone: row.zone,
    fromMs: toMs(row.from_at),
    toMs: toMs(row.to_at),
    quantitySeconds: row.quantity_seconds,
    unitPriceUsdPerHour: row.unit_price_usd_per_hour,
    amountUsd: row.amount_usd,
  }));
}

async function selectOpenMachines(tx: Tx, { from, to }: Range): Promise<ChargeFacts['open']> {
  const rows = await openMachines(tx)
    .where('running_seen_at', '<', to)
    .where((eb) => eb.or([eb('ended_at', 'is', null), eb('ended_at', '>', from)]))
    .orderBy('created_at')
    .limit(OPEN_MACHINES_MAX)
    .execute();
  const pastRuns = await readPastRuns(tx, rows);
  return rows.map((row) => toOpenMachine(row, pastRuns));
}

/** One machine, if it costs money which the ledger does not have yet. */
export async function readOpenMachine(tx: Tx, id: MachineId): Promise<OpenMachineRow | null> {
  const row = await openMachines(tx).where('running_seen_at', 'is not', null).where('id', '=', id).executeTakeFirst();
  return row === undefined ? null : toOpenMachine(row, await readPastRuns(tx, [row]));
}

type OpenColumn =
  | 'id'
  | 'workload'
  | 'instance_type'
  | 'zone'
  | 'market'
  | 'volume_gib'
  | 'price_usd_per_hour'
  | 'launch_time'
  | 'pending_seen_at'
  | 'running_seen_at'
  | 'ended_at'
  | 'end_code'
  | 'charged_through'
  | 'run'
  | 'run_launch_time'
  | 'stopped_at';
type OpenRow = Pick<Selectable<Database['machines']>, OpenColumn>;

function openMachines(tx: Tx): SelectQueryBuilder<Database, 'machines', OpenRow> {
  return tx
    .selectFrom('machines')
    .select(['id', 'workload', 'instance_type', 'zone', 'market', 'volume_gib', 'price_usd_per_hour'])
    .select(['launch_time', 'pending_seen_at', 'running_seen_at', 'ended_at', 'end_code', 'charged_through'])
    .select(['run', 'run_launch_time', 'stopped_at'])
    .where((eb) =>
      eb.or([
        eb('ended_at', 'is', null),
        eb('charged_through', 'is', null),
        eb('charged_through', '<', eb.ref('ended_at')),
      ]),
    );
}

function toOpenMachine(row: OpenRow, pastRuns: Awaited<ReturnType<typeof readPastRuns>>): OpenMachineRow {
  return {
    machineId: row.id as MachineId,
    workload: row.workload,
    instanceType: row.instance_type,
    zone: row.zone,
    market: row.market as Market,
    volumeGib: row.volume_gib,
    priceUsdPerHour: row.price_usd_per_hour,
    launchAtMs: toMs(row.launch_time),
    pendingSeenAtMs: toMs(row.pending_seen_at),
    runningSeenAtMs: toMs(row.running_seen_at),
    endedAtMs: toMs(row.ended_at),
    endCode: row.end_code,
    run: row.run,
    runLaunchAtMs: toMs(row.run_launch_time),
    stoppedAtMs: toMs(row.stopped_at),
    pastRuns: pastRuns.get(row.id) ?? [],
    chargedThroughMs: toMs(row.charged_through),
  };
}

async function readNowMs(tx: Tx): Promise<EpochMs> {
  const { rows } = await sql<{ now: Date }>`select spillway.now() as now`.execute(tx);
  const [row] = rows;
  if (row === undefined) throw new Error('select without a row');
  return toMs(row.now);
}
