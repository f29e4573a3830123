import type { Client } from 'pg';
import { DAY_MS } from '../../src/model/time.ts';
import { withClient } from '../support/postgres.ts';
import { until } from '../support/wait.ts';
import type { Datacenter } from './datacenter.ts';
import { readRuns, type Run } from './trace.ts';

/** What happened, from those who saw it: the region, the tasks' own diaries, and last the rows. */
export interface Evidence {
  readonly instances: readonly RegionInstance[];
  readonly events: readonly RegionEvent[];
  readonly billUsd: string;
  readonly runs: readonly Run[];
  /** What `spillway cost report` says. */
  readonly reportUsd: string;
  readonly rows: Rows;
}

export interface RegionInstance {
  readonly instanceId: string;
  readonly clientToken: string;
  readonly state: string;
}

export interface RegionEvent {
  readonly seq: number;
  readonly atMs: number;
  readonly instanceId: string;
  readonly kind: string;
  readonly cause: string | null;
}

export interface MachineEvent {
  readonly machineId: string;
  readonly from: string | null;
  readonly to: string;
  readonly reason: string;
}

export interface Rows {
  readonly launches: readonly { readonly nonce: string; readonly count: number }[];
  /** In the order of their time. */
  readonly planEpochs: readonly number[];
  readonly machineEvents: readonly MachineEvent[];
  /** `from>to` */
  readonly legalSteps: ReadonlySet<string>;
  readonly tasks: readonly { readonly id: string; readonly state: string }[];
  /**
   * What nobody can know: EC2 does not tell when an instance began to run, so the ledger takes a moment between two looks, at
   * most 5 s after the first. That, and a second, at the machine's price.
   */
  readonly doubtUsd: number;
}

export async function gatherEvidence(datacenter: Datacenter): Promise<Evidence> {
  const { instances } = await datacenter.askRegion<{ instances: readonly RegionInstance[] }>('instances');
  const { events } = await datacenter.askRegion<{ events: readonly RegionEvent[] }>('events');
  const { totalUsd: billUsd } = await datacenter.askRegion<{ totalUsd: string }>('bill');
  return {
    instances,
    events,
    billUsd,
    runs: await readRuns(datacenter.traces),
    reportUsd: await readReport(datacenter),
    rows: await withClient(datacenter.postgres.url, readRows),
  };
}

const CHARGED_MS = 30_000;

/** Resolves when every machine is gone and charged to its end: an account is written a few seconds after the last is gone. */
export async function untilCharged(datacenter: Datacenter): Promise<void> {
  await withClient(datacenter.postgres.url, async (client) => {
    const isCharged = async (): Promise<boolean> => {
      const { rows } = await client.query(
        `select 1 from spillway.machines where state <> 'terminated'
           or (launch_time is not null and (charged_through is null or charged_through < ended_at)) limit 1`,
      );
      return rows.length === 0;
    };
    await until('every machine is charged to its end', isCharged, { deadlineMs: CHARGED_MS, everyMs: 250 });
  });
}

/** A day on either side: the 60 s minimum of a short life reaches into the future. */
async function readReport(datacenter: Datacenter): Promise<string> {
  const [from = '', to = ''] = [-DAY_MS, DAY_MS].map((ms) => new Date(Date.now() + ms).toISOString());
  const report = await datacenter.spillway(0, 'cost', 'report', '--from', from, '--to', to, '-o', 'json');
  return (JSON.parse(report) as { readonly total: { readonly totalUsd: string } }).total.totalUsd;
}

export async function readRows(client: Client): Promise<Rows> {
  const read = async <T extends object>(sql: string): Promise<readonly T[]> => (await client.query<T>(sql)).rows;
  const epochs = await read<{ epoch: string }>('select epoch from spillway.plans order by decided_at, id');
  const steps = await read<{ step: string }>(
    `select from_state || '>' || to_state as step from spillway.machine_transitions`,
  );
  const doubts = await read<{ usd: number | null }>(
    `select sum((least(extract(epoch from running_seen_at - coalesce(pending_seen_at, launch_time)) / 2, 5) + 1) / 3600 * price_usd_per_hour)::float8 as usd
     from spillway.machines`,
  );
  return {
    doubtUsd: doubts[0]?.usd ?? 0,
    launches: await read('select nonce, instance_count as count from spillway.launches order by id'),
    planEpochs: epochs.map(({ epoch }) => Number(epoch)),
    machineEvents: await read(
      'select machine_id as "machineId", from_state as "from", to_state as "to", reason from spillway.machine_events order by id',
    ),
    legalSteps: new Set(steps.map(({ step }) => step)),
    tasks: await read('select id, state from spillway.tasks order by id'),
  };
}
