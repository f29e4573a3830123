import { MINUTE_MS, SECOND_MS } from '../model/time.ts';
import { Ec2Error } from '../simulator/ec2-error.ts';
import type { Region } from '../simulator/region.ts';
import type { Sim } from './sim.ts';
import type { SqlWorld } from './sql.ts';

/** A standby is behind by this at most. */
const LAG_MS_MAX = 3 * MINUTE_MS;
/** Between two looks for a moment at which the database can be copied. */
const COPY_AGAIN_MS = 100;
const COPY_TRIES_MAX = 600;
const STOPPED_WITHIN_MS = 5 * MINUTE_MS;
const LOOK_AGAIN_MS = 2 * SECOND_MS;
/** How often the lost commits had stopped a machine and started it again. */
const RESTART_RATE = 0.5;

interface FailoverOptions {
  readonly sim: Sim;
  readonly sql: SqlWorld;
  readonly region: Region;
  /** What was committed lately is forgotten from now on. */
  readonly onForgotten: () => void;
}

/** A standby that hears nothing from some moment on is promoted a while later: what was committed in between is forgotten. */
export class Failover {
  /** It happened. */
  happened = false;
  private readonly options: FailoverOptions;
  private isUnderWay = false;

  constructor(options: FailoverOptions) {
    this.options = options;
  }

  async begin(tries = COPY_TRIES_MAX): Promise<void> {
    const { sim, sql } = this.options;
    if (this.isUnderWay || tries === 0 || !sim.isStormy()) return;
    if (!sql.isQuiet()) {
      sim.at(COPY_AGAIN_MS, async () => await this.begin(tries - 1));
      return;
    }
    this.isUnderWay = true;
    await sql.keepCopy();
    sim.at(sim.chance.integer('failover:lag', SECOND_MS, LAG_MS_MAX), async () => await this.fallBack());
  }

  private async fallBack(): Promise<void> {
    const { sim, sql, onForgotten } = this.options;
    this.isUnderWay = false;
    this.happened = true;
    await sql.fallBack();
    onForgotten();
    sim.note('failed over');
    if (sim.strikes('failover', 'restarted-in-lost-time', RESTART_RATE)) await this.restartOne();
  }

  /** As if a stop and a start of a machine were among what was lost; it has no agent yet. */
  private async restartOne(): Promise<void> {
    const { sim, sql, region } = this.options;
    const rows = await sql.query<{ instance_id: string }>(
      `select instance_id from spillway.machines
       where state in ('ready', 'draining', 'leaving') and market = 'on-demand' order by state, id`,
    );
    const chosen = rows[sim.chance.integer('failover:restarted', 0, Math.max(0, rows.length - 1))];
    if (chosen === undefined || region.findInstance(chosen.instance_id)?.state !== 'running') return;
    this.ask('StopInstances', chosen.instance_id);
    this.startWhenStopped(chosen.instance_id, sim.nowMs + STOPPED_WITHIN_MS);
  }

  private startWhenStopped(instanceId: string, untilMs: number): void {
    const { sim, region } = this.options;
    const state = region.findInstance(instanceId)?.state;
    if (state === 'stopped') this.ask('StartInstances', instanceId);
    else if (sim.nowMs < untilMs) sim.at(LOOK_AGAIN_MS, () => this.startWhenStopped(instanceId, untilMs));
  }

  private ask(action: 'StartInstances' | 'StopInstances', instanceId: string): void {
    try {
      this.options.region.perform(action, { InstanceIds: [instanceId] });
    } catch (error) {
      if (!(error instanceof Ec2Error)) throw error;
    }
  }
}
