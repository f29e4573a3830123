import type { Bounds } from './bounds.ts';
import type { ReplayOutcome } from './replay-types.ts';

/** What a backtest tells: plain numbers, the promise to scripts. */
export interface BacktestFigures {
  readonly costUsd: number;
  readonly tasks: number;
  readonly tasksDone: number;
  /** Neither a local agent nor any type holds them. */
  readonly tasksImpossible: number;
  readonly tasksInCloud: number;
  readonly waitMeanS: number;
  readonly waitP50S: number;
  readonly waitP95S: number;
  readonly waitMaxS: number;
  readonly launches: number;
  /** Nodes ended before the end; with `launches` the churn. */
  readonly terminations: number;
  readonly nodesMax: number;
  readonly machineHours: number;
  /** Least that the work done in the cloud could have cost. */
  readonly usefulUsd: number;
  /** usefulUsd / costUsd; null when nothing was paid. */
  readonly efficiency: number | null;
  /** Least cost of running everything in the cloud. */
  readonly allCloudUsd: number;
  /** Least cost for whoever knows every task in advance. */
  readonly lowerBoundUsd: number;
  /** costUsd / lowerBoundUsd; null when the bound is 0. */
  readonly ratioToLowerBound: number | null;
}

/** The figures of a replay beside what it could have cost at least. */
export function makeFigures(
  outcome: ReplayOutcome,
  bounds: Pick<Bounds, 'allCloudUsd' | 'lowerBoundUsd'>,
  leastUsd: (work: ReplayOutcome['cloudWork']) => number,
): BacktestFigures {
  const waits = Float64Array.from(outcome.waitsS).sort();
  const usefulUsd = leastUsd(outcome.cloudWork);
  const { costUsd } = outcome;
  return {
    costUsd: round(costUsd, 6),
    tasks: outcome.tasks,
    tasksDone: outcome.tasksDone,
    tasksImpossible: outcome.tasksImpossible,
    tasksInCloud: outcome.ranInCloud.reduce((sum, ran) => sum + ran, 0),
    waitMeanS: round(waits.reduce((sum, wait) => sum + wait, 0) / Math.max(1, waits.length), 3),
    waitP50S: quantile(waits, 0.5),
    waitP95S: quantile(waits, 0.95),
    waitMaxS: waits.at(-1) ?? 0,
    launches: outcome.launches,
    terminations: outcome.terminations,
    nodesMax: outcome.nodesMax,
    machineHours: round(outcome.machineHours, 4),
    usefulUsd: round(usefulUsd, 6),
    efficiency: costUsd > 0 ? round(usefulUsd / costUsd, 6) : null,
    allCloudUsd: round(bounds.allCloudUsd, 6),
    lowerBoundUsd: round(bounds.lowerBoundUsd, 6),
    ratioToLowerBound: bounds.lowerBoundUsd > 0 ? round(costUsd / bounds.lowerBoundUsd, 6) : null,
  };
}

/** Nearest rank. */
function quantile(sorted: Float64Array, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

function round(value: number, places: number): number {
  return Number(value.toFixed(places));
}
