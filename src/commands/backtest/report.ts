import type { BacktestFigures } from '../../backtest/figures.ts';
import type { Sample } from '../../backtest/timeline.ts';

/** What one policy came to. */
export interface PolicyResult extends BacktestFigures {
  /** The policy's file, or its name when only one is replayed. */
  readonly policy: string;
  /** Passes of the planner, and how often each reason was given. */
  readonly plans: number;
  readonly reasons: Readonly<Record<string, number>>;
}

/** The second policy less the first one, figure by figure; null where one of them is not known. */
export type Difference = { readonly [K in keyof BacktestFigures]: number | null };

/** The JSON of `spillway backtest`: the figures of the (first) policy, then what they are figures of. */
export interface BacktestReport extends PolicyResult {
  readonly trace: { readonly name: string; readonly tasks: number; readonly skipped: number; readonly days: number };
  readonly agents: {
    readonly count: number;
    readonly cores: number;
    readonly memoryGib: number;
    readonly gpus: number;
  };
  readonly bootS: number;
  readonly untilS: number | null;
  readonly catalogue: string;
  readonly policies: readonly PolicyResult[];
  readonly difference: Difference | null;
  readonly failed: readonly FailedCondition[];
}

/** A `--fail-if` that held. */
export interface FailedCondition {
  readonly condition: string;
  readonly policy: string;
  readonly actual: number | null;
}

/** What the charts need beside the report. */
export interface PolicyTimeline {
  readonly policy: string;
  readonly samples: readonly Sample[];
}

/** Figures in the order they are shown, with how a person reads them. */
export const FIGURES: readonly {
  readonly key: keyof BacktestFigures;
  readonly label: string;
  readonly kind: 'usd' | 'count' | 'seconds' | 'hours' | 'ratio';
}[] = [
  { key: 'costUsd', label: 'COST', kind: 'usd' },
  { key: 'lowerBoundUsd', label: 'LOWER BOUND', kind: 'usd' },
  { key: 'ratioToLowerBound', label: 'COST / LOWER BOUND', kind: 'ratio' },
  { key: 'usefulUsd', label: 'USEFUL', kind: 'usd' },
  { key: 'efficiency', label: 'EFFICIENCY', kind: 'ratio' },
  { key: 'allCloudUsd', label: 'ALL IN THE CLOUD', kind: 'usd' },
  { key: 'tasks', label: 'TASKS', kind: 'count' },
  { key: 'tasksDone', label: 'DONE', kind: 'count' },
  { key: 'tasksInCloud', label: 'RAN IN THE CLOUD', kind: 'count' },
  { key: 'tasksImpossible', label: 'FIT NOWHERE', kind: 'count' },
  { key: 'waitMeanS', label: 'WAIT, MEAN', kind: 'seconds' },
  { key: 'waitP50S', label: 'WAIT, MEDIAN', kind: 'seconds' },
  { key: 'waitP95S', label: 'WAIT, 95 %', kind: 'seconds' },
  { key: 'waitMaxS', label: 'WAIT, LONGEST', kind: 'seconds' },
  { key: 'launches', label: 'LAUNCHES', kind: 'count' },
  { key: 'terminations', label: 'TERMINATIONS', kind: 'count' },
  { key: 'nodesMax', label: 'MACHINES, MOST', kind: 'count' },
  { key: 'machineHours', label: 'MACHINE-HOURS', kind: 'hours' },
];

export const FIGURE_KEYS: readonly (keyof BacktestFigures)[] = FIGURES.map(({ key }) => key);

export function differenceOf(first: BacktestFigures, second: BacktestFigures): Difference {
  const entries = FIGURE_KEYS.map((key) => {
    const [a, b] = [first[key], second[key]];
    return [key, a === null || b === null ? null : Number((b - a).toFixed(6))];
  });
  return Object.fromEntries(entries) as Difference;
}

/** A figure as a person reads it; `-` when it is not known. */
export function figureText(kind: (typeof FIGURES)[number]['kind'], value: number | null, signed = false): string {
  if (value === null) return '-';
  const sign = signed && value > 0 ? '+' : value < 0 ? '-' : '';
  const size = Math.abs(value);
  const amount = (places: number): string =>
    size.toLocaleString('en-US', { minimumFractionDigits: places, maximumFractionDigits: places });
  if (kind === 'usd') return `${sign}$${amount(2)}`;
  if (kind === 'ratio') return `${sign}${amount(3)}`;
  if (kind === 'hours') return `${sign}${amount(1)}`;
  return kind === 'seconds' ? `${sign}${amount(size % 1 === 0 ? 0 : 1)} s` : `${sign}${amount(0)}`;
}

/** How much of the past there is, and how much of it was replayed. */
export function describePast({ trace, untilS }: Pick<BacktestReport, 'trace' | 'untilS'>): string {
  const skipped = trace.skipped === 0 ? '' : `, ${trace.skipped} without run time or cores left out`;
  const cut = untilS === null ? '' : `, replayed until second ${Math.round(untilS)}`;
  return `${trace.tasks} tasks in ${trace.days} days${skipped}${cut}`;
}
