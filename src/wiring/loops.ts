import type { Config } from '../config/types.ts';
import { assignTasks, recoverTasks } from '../engine/assign.ts';
import type { EnginePorts } from '../engine/ports.ts';
import { accountTick } from '../loops/account.ts';
import { planTick } from '../loops/plan.ts';
import type { LoopPorts } from '../loops/ports.ts';
import { pricesTick } from '../loops/prices.ts';
import { retainTick } from '../loops/retain.ts';
import { ringTick } from '../loops/ring.ts';
import { startLoop, type LoopSpec, type RunningLoop } from '../loops/runner.ts';
import { sweepTick } from '../loops/sweep.ts';
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { Metrics } from '../observability/metrics.ts';
import type { RetentionStore } from '../ports/retention.ts';

export type LoopName = 'lead' | 'plan' | 'sweep' | 'ring' | 'assign' | 'recover' | 'account' | 'prices' | 'retain';
export type Loops = Readonly<Record<LoopName, RunningLoop>>;

interface LoopOptions {
  readonly config: Config;
  readonly loops: LoopPorts;
  readonly engine: EnginePorts;
  readonly retention: RetentionStore;
  readonly metrics: Metrics;
}

/** Starts every loop; each goes on by itself through outages. */
export function startLoops(options: LoopOptions): Loops {
  const { config, loops, engine, retention } = options;
  const start = (spec: LoopSpec): RunningLoop => startLoop(spec, { clock: loops.clock, log: loops.log });
  return {
    lead: start({
      name: 'lead',
      // Turn to turn with the renewal itself: three fifths leave two seconds for an answer before renewal is late.
      intervalMs: (waitMs('leader.renewal') * 3) / 5,
      gatherMs: 100,
      turn: async () => await loops.lead.renew(),
    }),
    plan: start({
      name: 'plan',
      intervalMs: config.planIntervalMs,
      // A wave of a thousand submissions is planned once or twice, not a thousand times.
      gatherMs: 200,
      turn: async () => await plan(options),
    }),
    sweep: start({
      name: 'sweep',
      intervalMs: config.observeIntervalMs,
      gatherMs: 200,
      turn: async () => await sweep(options),
    }),
    ring: start({ name: 'ring', intervalMs: SECOND_MS, gatherMs: 100, turn: async () => await ringTick(loops) }),
    assign: start({ name: 'assign', intervalMs: SECOND_MS, gatherMs: 10, turn: async () => await assignTasks(engine) }),
    recover: start({
      name: 'recover',
      // Four looks per lease: a silent agent's tasks start elsewhere at most a quarter of a lease late.
      intervalMs: Math.min(15 * SECOND_MS, Math.max(SECOND_MS, config.taskLeaseMs / 4)),
      gatherMs: 100,
      turn: async () => await recoverTasks(engine),
    }),
    account: start({
      name: 'account',
      intervalMs: 5 * SECOND_MS,
      gatherMs: 100,
      turn: async () => await accountTick(loops),
    }),
    prices: start({
      name: 'prices',
      intervalMs: 15 * MINUTE_MS,
      gatherMs: SECOND_MS,
      turn: async () => await pricesTick(loops),
    }),
    retain: start({
      name: 'retain',
      intervalMs: HOUR_MS,
      gatherMs: SECOND_MS,
      turn: async () => await retainTick(retention, config.retentionMs),
    }),
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
