import { listPriceUsdPerHour } from '../cost/catalogue.ts';
import type { TaskId } from '../model/ids.ts';
import { nanoUsdFromDecimal, nanoUsdToNumber } from '../model/money.ts';
import { replayPlan } from '../planner/replay.ts';
import type { PlannerInput, PlanOutcome } from '../planner/types.ts';
import type { Region } from '../simulator/region.ts';
import type { LettingGo } from './letting-go.ts';
import type { SqlWorld } from './sql.ts';
import { type Truth, Violation } from './truth.ts';

/** The promise of invariant 9. */
const CENT = 0.01;
const MINUTES_PER_HOUR = 60;

/** A report may be recorded late, by a process that was slow or stopped, and a decision a little after what it is based on. */
const HEARD_SLACK_MS = 90_000;

/** Hours of decisions; each takes about a millisecond. */
const REPLAYED_MAX = 100;

export interface Circumstances {
  /** Tasks whose submission was confirmed. */
  readonly promised: ReadonlySet<TaskId>;
  /** Commits were lost on the way. */
  readonly failedOver: boolean;
  /** The longest that any policy calls a report fresh. */
  readonly freshnessMs: number;
}

/** What must hold when everything has come to rest. */
export class EndChecks {
  private readonly sql: SqlWorld;
  private readonly region: Region;
  private readonly truth: Truth;
  private readonly lettingGo: LettingGo;

  constructor(sql: SqlWorld, region: Region, truth: Truth, lettingGo: LettingGo) {
    this.lettingGo = lettingGo;
    this.sql = sql;
    this.region = region;
    this.truth = truth;
  }

  /** How much is not done, gone and charged yet. */
  async countOpen(): Promise<number> {
    // Pools keep nothing for longer than their maxAge, which is short here: a stopped instance that stays is a leak.
    if (this.truth.living().length + this.truth.stopped().length > 0) return 1;
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
    const stopped = this.truth.stopped().map(({ instanceId }) => instanceId);
    return JSON.stringify({ rows, living, stopped });
  }

  async check({ promised, failedOver, freshnessMs }: Circumstances): Promise<void> {
    // What was interrupted ten times while it ran is given up: that is promised, too.
    const rows = await this.sql.query<{ id: TaskId; state: string }>(
      `select id, case when state = 'failed' and interruptions >= 10 then 'given-up' else state end as state
       from spillway.tasks order by id`,
    );
    const states = new Map(rows.map(({ id, state }) => [id, state]));
    for (const id of promised) {
      const state = states.get(id);
      // What a failover forgot was never in the database that lives on.
      if (state === 'done' || state === 'given-up' || (state === undefined && failedOver)) continue;
      throw new Violation('task-lost', `${id} was accepted and is ${state ?? 'gone'}`);
    }
    this.truth.checkClones();
    if (!failedOver) await this.checkDeciders();
    await this.checkReplays();
    await this.checkScaleDowns(freshnessMs);
    await this.lettingGo.check(this.sql);
    await this.checkLedger();
    await this.checkSecrets();
  }

  /** No row of any table keeps a token in plain text. */
  private async checkSecrets(): Promise<void> {
    const tables = await this.sql.query<{ name: string }>(
      `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
       where table_schema = 'spillway' and table_type = 'BASE TABLE' order by 1`,
    );
    for (const { name } of tables) {
      const [row] = await this.sql.query<{ text: string | null }>(
        `select string_agg(t::text, ' ') as text from ${name} t`,
      );
      this.truth.checkSecrets(`table ${name}`, row?.text ?? '');
    }
  }

  /** Whoever was deposed commits no plan any more. */
  private async checkDeciders(): Promise<void> {
    const [late] = await this.sql.query<{ plan_id: string; epoch: number; newest: number }>(
      'select plan_id, epoch, newest from spillway.chaos_late_plans order by plan_id limit 1',
    );
    if (late === undefined) return;
    const what = `plan ${late.plan_id} of epoch ${late.epoch} was committed`;
    throw new Violation('one-decider', `${what} when epoch ${late.newest} had begun`);
  }

  /** What was stored of a decision is enough to make it again, to the byte. */
  private async checkReplays(): Promise<void> {
    const plans = await this.sql.query<{ id: string; input: PlannerInput; outcome: PlanOutcome }>(
      `select id, input, outcome from spillway.plans order by decided_at desc, id limit ${REPLAYED_MAX}`,
    );
    for (const { id, input, outcome } of plans) {
      const { result, differences } = replayPlan(input, outcome);
      if (result === 'same') continue;
      throw new Violation('replay', `plan ${id} made again is ${result}: ${JSON.stringify(differences.slice(0, 3))}`);
    }
  }

  /** Nobody is let go of whom nothing was heard lately. */
  private async checkScaleDowns(freshnessMs: number): Promise<void> {
    const rows = await this.sql.query<{ at: Date; machine_id: string; agents: string[] }>(
      `select e.at, e.machine_id, array(select a.id from spillway.agents a where a.machine_id = e.machine_id) as agents
       from spillway.machine_events e
       where e.to_state = 'draining' and e.actor = 'planner' and e.reason not like 'policy%' order by e.id`,
    );
    for (const { at, agents, machine_id: machineId } of rows) {
      const atMs = at.getTime();
      const heardMs = Math.max(...agents.map((agentId) => this.truth.lastHeardBefore(agentId, atMs) ?? 0));
      if (atMs - heardMs <= freshnessMs + HEARD_SLACK_MS) continue;
      const when = new Date(heardMs).toISOString();
      throw new Violation('unknown-is-hold', `${machineId} was drained though its agent was last heard of at ${when}`);
    }
  }

  /** Distinct `from>to`; a birth has no `from`. */
  async transitionsSeen(): Promise<readonly string[]> {
    const rows = await this.sql.query<{ from_state: string | null; to_state: string }>(
      'select distinct from_state, to_state from spillway.machine_events order by 1 nulls first, 2',
    );
    return rows.map((row) => `${row.from_state ?? ''}>${row.to_state}`);
  }

  /**
   * The region's per-second bill against the ledger, instance by instance. EC2 tells the second of the launch request and of the
   * end, but not the one in which billing began: a minute of each is in doubt when no look fell into its start.
   */
  private async checkLedger(): Promise<void> {
    const rows = await this.sql.query<{ instance_id: string; amount_usd: string }>(
      `select m.instance_id, c.amount_usd from spillway.charges c join spillway.machines m on m.id = c.machine_id
       where m.instance_id is not null order by c.id`,
    );
    const ledger = Map.groupBy(rows, (row) => row.instance_id);
    for (const { instanceId, instanceType, totalNanoUsd, billedSeconds } of this.region.bill().lines) {
      if (this.truth.isForeign(instanceId)) continue;
      const charged = ledger.get(instanceId) ?? [];
      const ledgerUsd = nanoUsdToNumber(charged.reduce((sum, row) => sum + nanoUsdFromDecimal(row.amount_usd), 0n));
      const billUsd = nanoUsdToNumber(totalNanoUsd);
      const doubtUsd = (listPriceUsdPerHour(instanceType) ?? 0) / MINUTES_PER_HOUR;
      if (Math.abs(ledgerUsd - billUsd) <= CENT + doubtUsd) continue;
      const what = `${charged.length} charges of ${ledgerUsd} USD`;
      throw new Violation('ledger', `${instanceId} has ${what}, the region bills ${billUsd} for ${billedSeconds} s`);
    }
  }
}
