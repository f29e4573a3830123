import { listPriceUsdPerHour } from '../cost/catalogue.ts';
import type { TaskId } from '../model/ids.ts';
import { nanoUsdFromDecimal, nanoUsdToNumber } from '../model/money.ts';
import type { Region } from '../simulator/region.ts';
import type { SqlWorld } from './sql.ts';
import { type Truth, Violation } from './truth.ts';

/** The promise of invariant 9. */
const CENT = 0.01;
const MINUTES_PER_HOUR = 60;

/** What must hold when everything has come to rest. */
export class EndChecks {
  private readonly sql: SqlWorld;
  private readonly region: Region;
  private readonly truth: Truth;

  constructor(sql: SqlWorld, region: Region, truth: Truth) {
    this.sql = sql;
    this.region = region;
    this.truth = truth;
  }

  /** How much is not done, gone and charged yet. */
  async countOpen(): Promise<number> {
    if (this.truth.living().length > 0) return 1;
    const [row] = await this.sql.query<{ open: number }>(
      `select (select count(*) from spillway.machines where state <> 'terminated')
            + (select count(*) from spillway.launches where state = 'open')
            + (select count(*) from spillway.machines
                where launch_time is not null and (charged_through is null or charged_through < ended_at))
            + (select count(*) from spillway.tasks where state in ('pending', 'leased', 'running')) as open`,
    );
    return row?.open ?? 0;
  }

  async describeRest(): Promise<string> {
    const rows = await this.sql.query<object>(
      `select 'machine' as what, id, state from spillway.machines where state <> 'terminated'
       union all select 'launch', id, state from spillway.launches where state = 'open'
       union all select 'task', id, state from spillway.tasks where state in ('pending', 'leased', 'running')
       order by 1, 2 limit 20`,
    );
    const living = this.truth.living().map(({ instanceId }) => instanceId);
    return JSON.stringify({ rows, living });
  }

  /** @param promised tasks whose submission was confirmed @param failedOver commits were lost on the way */
  async check(promised: ReadonlySet<TaskId>, failedOver: boolean): Promise<void> {
    const rows = await this.sql.query<{ id: TaskId; state: string }>(
      'select id, state from spillway.tasks order by id',
    );
    const states = new Map(rows.map(({ id, state }) => [id, state]));
    for (const id of promised) {
      const state = states.get(id);
      // What a failover forgot was never in the database that lives on.
      if (state === 'done' || (state === undefined && failedOver)) continue;
      throw new Violation('task-lost', `${id} was accepted and is ${state ?? 'gone'}`);
    }
    await this.checkLedger();
  }

  /** Distinct `from>to`; a birth has no `from`. */
  async transitionsSeen(): Promise<readonly string[]> {
    const rows = await this.sql.query<{ from_state: string | null; to_state: string }>(
      'select distinct from_state, to_state from spillway.machine_events order by 1 nulls first, 2',
    );
    return rows.map((row) => `${row.from_state ?? ''}>${row.to_state}`);
  }

  /**
   * The region's per-second bill against the ledger. EC2 tells the second of the launch request and of the end, but not the one
   * in which billing began: a minute of each machine is in doubt when no look fell into its start.
   */
  private async checkLedger(): Promise<void> {
    const rows = await this.sql.query<{ amount_usd: string }>('select amount_usd from spillway.charges order by id');
    const ledgerUsd = nanoUsdToNumber(rows.reduce((sum, row) => sum + nanoUsdFromDecimal(row.amount_usd), 0n));
    const lines = this.region.bill().lines.filter(({ instanceId }) => !this.truth.isForeign(instanceId));
    const billUsd = nanoUsdToNumber(lines.reduce((sum, line) => sum + line.totalNanoUsd, 0n));
    const hourly = lines.reduce((sum, { instanceType }) => sum + (listPriceUsdPerHour(instanceType) ?? 0), 0);
    if (Math.abs(ledgerUsd - billUsd) > CENT + hourly / MINUTES_PER_HOUR) {
      throw new Violation('ledger', `the ledger says ${ledgerUsd} USD, the region's bill ${billUsd}`);
    }
  }
}
