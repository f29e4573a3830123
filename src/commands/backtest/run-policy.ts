import { setImmediate as nextTurn } from 'node:timers/promises';
import type { WorkPrices } from '../../backtest/bounds.ts';
import type { Bounds } from '../../backtest/bounds.ts';
import { makeFigures } from '../../backtest/figures.ts';
import { Replay } from '../../backtest/frame.ts';
import type { ProductionScaler } from '../../backtest/production.ts';
import type { Trace, Amount, NodeType } from '../../backtest/types.ts';
import type { PolicyResult, PolicyTimeline } from './report.ts';

/** What all policies share. */
export interface BacktestSetup {
  readonly trace: Trace;
  readonly locals: readonly Amount[];
  /** What any of the policies may launch. */
  readonly types: readonly NodeType[];
  readonly bounds: Bounds;
  readonly prices: WorkPrices;
  readonly bootS: number;
  readonly untilS: number | null;
}

export interface BacktestHooks {
  readonly signal: AbortSignal;
  readonly nowMs: () => number;
  readonly progress: (text: string) => void;
}

/** Enough for a chart as wide as a screen. */
const SAMPLES = 600;
/** Between two looks at Ctrl-C: some milliseconds. */
const MOMENTS_PER_TURN = 200;
const PROGRESS_EVERY_MS = 2000;

/** Replays the trace under one policy, with a word about how far it is at once and every two seconds. */
export async function runPolicy(
  setup: BacktestSetup,
  { name, scaler }: { readonly name: string; readonly scaler: ProductionScaler },
  hooks: BacktestHooks,
): Promise<{ readonly result: PolicyResult; readonly timeline: PolicyTimeline }> {
  const { trace, locals, bounds, prices, bootS, untilS } = setup;
  const replay = new Replay({
    tasks: trace.tasks,
    locals,
    types: scaler.types,
    scaler,
    bootS,
    samples: SAMPLES,
    ...(untilS === null ? {} : { untilS }),
  });
  let toldAtMs = -Infinity;
  while (!replay.step(MOMENTS_PER_TURN)) {
    hooks.signal.throwIfAborted();
    if (hooks.nowMs() - toldAtMs >= PROGRESS_EVERY_MS) {
      toldAtMs = hooks.nowMs();
      const { done, all } = replay.progress;
      hooks.progress(`${name}: ${done} of ${all} tasks done, ${replay.nodeCount} machines now`);
    }
    await nextTurn();
  }
  const outcome = replay.outcome();
  const { plans, reasons } = scaler.report();
  const figures = makeFigures(outcome, bounds, (work) => prices.leastUsd(work));
  return {
    result: { ...figures, policy: name, plans, reasons },
    timeline: { policy: name, samples: outcome.timeline.samples },
  };
}
