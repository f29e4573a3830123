import type { Config } from '../config/types.ts';
import { assignTasks, recoverTasks } from '../engine/assign.ts';
import type { EnginePorts } from '../engine/ports.ts';
import { accountTick } from '../loops/account.ts';
import { planTick } from '../loops/plan.ts';
import { learnTick } from '../loops/learn.ts';
import type { LoopPorts } from '../loops/ports.ts';
import { pricesTick } from '../loops/prices.ts';
import { checkMemory } from '../loops/recollection.ts';
import { retainTick } from '../loops/retain.ts';
import { ringTick } from '../loops/ring.ts';
import { startLoop, type LoopSpec, type RunningLoop } from '../loops/runner.ts';
import { sweepTick } from '../loops/sweep.ts';
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { Metrics } from '../observability/metrics.ts';
import type { RetentionStore } from '../ports/retention.ts';

export type LoopName =
  | 'lead'
  | 'plan'
  | 'sweep'
  | 'ring'
  | 'assign'
  | 'recover'
  | 'account'
  | 'prices'
  | 'learn'
  | 'retain';
export type Loops = Readonly<Record<LoopName, RunningLoop>>;

/** Milliseconds from the end of one turn of a loop to the beginning of its next. */
export type LoopIntervals = Readonly<Record<LoopName, number>>;

/** As a service runs them. Four looks per lease: a silent agent's tasks start elsewhere at most a quarter of a lease late. */
export function loopIntervals(
  config: Pick<Config, 'planIntervalMs' | 'observeIntervalMs' | 'taskLeaseMs'>,
): LoopIntervals {
  return {
    // From turn to turn comes the renewal itself: three fifths leave two seconds for an answer before renewal is late.
    lead: (waitMs('leader.renewal') * 3) / 5,
    plan: config.planIntervalMs,
    sweep: config.observeIntervalMs,
    ring: SECOND_MS,
    assign: SECOND_MS,
    recover: Math.min(15 * SECOND_MS, Math.max(SECOND_MS, config.taskLeaseMs / 4)),
    account: 5 * SECOND_MS,
    prices: 15 * MINUTE_MS,
    learn: 5 * MINUTE_MS,
    retain: HOUR_MS,
  };
}

/**
 * After a wake-up, turns come no closer than this: a wave of a thousand submissions is planned once or twice, not a
 * thousand times.
 */
const GATHER_MS: LoopIntervals = {
  lead: 100,
  plan: 200,
  sweep: 200,
  ring: 100,
  assign: 10,
  recover: 100,
  account: 100,
  prices: SECOND_MS,
  learn: SECOND_MS,
  retain: SECOND_MS,
};

export interface LoopOptions {
  readonly intervals: LoopIntervals;
  /** Age from which samples, plans and the like are forgotten. */
  readonly retentionMs: number;
  readonly loops: LoopPorts;
  readonly engine: EnginePorts;
  readonly retention: RetentionStore;
  readonly metrics: Pick<Metrics, 'leading' | 'planned' | 'orphansSeen'>;
}

/** Starts every loop; each goes on by itself through outages. */
export function startLoops(options: LoopOptions): Loops {
  const { intervals, loops, engine, retention, retentionMs } = options;
  const turns: Readonly<Record<LoopName, LoopSpec['turn']>> = {
    lead: async () => {
      // A renewal would hide that the lease went back.
      await checkMemory(loops);
      await loops.lead.renew();
    },
    plan: async () => await plan(options),
    sweep: async () => await sweep(options),
    ring: async () => await ringTick(loops),
    assign: async () => await assignTasks(engine),
    recover: async () => await recoverTasks(engine),
    account: async () => await accountTick(loops),
    prices: async () => await pricesTick(loops),
    learn: async () => await learnTick(loops),
    retain: async () => await retainTick(retention, retentionMs),
  };
  const start = (name: LoopName): RunningLoop =>
    startLoop({ name, intervalMs: intervals[name], gatherMs: GATHER_MS[name], turn: turns[name] }, loops);
  return {
    lead: start('lead'),
    plan: start('plan'),
    sweep: start('sweep'),
    ring: start('ring'),
    assign: start('assign'),
    recover: start('recover'),
    account: start('account'),
    prices: start('prices'),
    learn: start('learn'),
    retain: start('retain'),
  };
}

async function plan({ loops, metrics }: LoopOptions): Promise<void> {
  const startedMs = loops.clock.monotonicMs();
  const tick = await planTick(loops);
  metrics.leading(tick.kind === 'planned');
  if (tick.kind !== 'planned') return;
  metrics.planned({
    atMs: loops.clock.nowMs(),
    tookMs: loops.clock.monotonicMs() - startedMs,
    decisions: tick.outcome.workloads.flatMap(({ workload, actions, report }) => {
      const reason = report.reasons[0]?.code ?? 'satisfied';
      return actions.length === 0
        ? [{ workload, action: 'hold', reason }]
        : actions.map(({ kind }) => ({ workload, action: kind, reason }));
    }),
  });
}

async function sweep({ loops, metrics }: LoopOptions): Promise<void> {
  const results = await sweepTick(loops);
  metrics.orphansSeen(results.reduce((sum, { condemned }) => sum + condemned, 0));
}
