/**
 * Demand of the next minutes, from what the same minutes of earlier weeks or days wanted: the median of each resource. It
 * knows seasons and nothing else; that is little, but every figure of it can be looked up, and one odd week changes nothing.
 */
import type { ForecastSignal } from '../model/policy.ts';
import type { Resources } from '../model/resources.ts';
import { NO_RESOURCES, addResources, multiplyResources, subtractResources } from '../model/resources.ts';
import { DAY_MS, MINUTE_MS } from '../model/time.ts';
import type { EpochMs } from '../model/time.ts';
import type { Fleet } from './fleet.ts';
import type { ForecastView, PlanReason, WorkloadInput } from './types.ts';
import { needText, percent } from './text.ts';

/** Length of a period. Shorter ones say no more of a season, and longer ones hide its steps. */
export const PERIOD_MS = 5 * MINUTE_MS;

/** Weeks tell weekends from weekdays and need three weeks of history; until these are there, days have to do. */
const SEASONS = [
  { season: 'week', lengthMs: 7 * DAY_MS, most: 8 },
  { season: 'day', lengthMs: DAY_MS, most: 14 },
] as const;
/** Of two values a median is a mean, and one odd day counts as much as the other. */
const SEASONS_MIN = 3;
/** A day: a forecast that was right all night may still know nothing of the morning. */
export const SCORED_MIN = DAY_MS / PERIOD_MS;

/** What was wanted at most in the period that begins at `atMs`. */
export interface PastDemand {
  readonly atMs: EpochMs;
  readonly demand: Resources;
}

/** One period's forecast. */
export interface PeriodForecast extends PastDemand {
  readonly season: 'week' | 'day';
  readonly seasons: number;
}

/** The begin of the period that a moment lies in. */
export function periodOf(ms: EpochMs): EpochMs {
  return Math.floor(ms / PERIOD_MS) * PERIOD_MS;
}

/** Periods from now until `leadTimeMs` from now: what is bought now must last until the last of them. */
function periodsAhead(nowMs: EpochMs, leadTimeMs: number): EpochMs[] {
  const periods: EpochMs[] = [];
  for (let atMs = periodOf(nowMs); atMs <= nowMs + leadTimeMs; atMs += PERIOD_MS) periods.push(atMs);
  return periods;
}

/** The periods of the past that forecasts for now and `leadTimeMs` from now are made of. */
export function periodsNeeded(nowMs: EpochMs, leadTimeMs: number): EpochMs[] {
  const needed = periodsAhead(nowMs, leadTimeMs).flatMap((atMs) =>
    SEASONS.flatMap(({ lengthMs, most }) => Array.from({ length: most }, (_, back) => atMs - (back + 1) * lengthMs)),
  );
  return [...new Set(needed)].sort((a, b) => a - b);
}

/** Forecasts for the periods ahead, without those of which too little is known. */
export function forecastPeriods(
  past: readonly PastDemand[],
  { nowMs, leadTimeMs }: { readonly nowMs: EpochMs; readonly leadTimeMs: number },
): PeriodForecast[] {
  const known = new Map(past.map(({ atMs, demand }) => [atMs, demand]));
  return periodsAhead(nowMs, leadTimeMs).flatMap((atMs) => {
    for (const { season, lengthMs, most } of SEASONS) {
      const values = Array.from({ length: most }, (_, back) => known.get(atMs - (back + 1) * lengthMs) ?? []).flat();
      if (values.length >= SEASONS_MIN) return [{ atMs, season, seasons: values.length, demand: medianOf(values) }];
    }
    return [];
  });
}

function medianOf(values: readonly Resources[]): Resources {
  const median = (pick: (value: Resources) => number): number => {
    const sorted = values.map(pick).sort((a, b) => a - b);
    const half = sorted.length / 2;
    return Math.ceil(((sorted[Math.ceil(half) - 1] ?? 0) + (sorted[Math.floor(half)] ?? 0)) / 2);
  };
  return {
    cpuMilli: median(({ cpuMilli }) => cpuMilli),
    memoryMib: median(({ memoryMib }) => memoryMib),
    gpus: median(({ gpus }) => gpus),
  };
}

/** Forecast minus truth over scored periods, resource by resource. */
export interface ForecastErrors {
  readonly periods: number;
  /** Sum of what was wanted. */
  readonly actual: Resources;
  /** Sum of the distances between forecast and truth. */
  readonly error: Resources;
}

/** The forecast as the planner gets it: the most that any period ahead wants, and how good such forecasts were. */
export function viewForecast(periods: readonly PeriodForecast[], errors: ForecastErrors): ForecastView {
  const score = { periods: errors.periods, accuracy: accuracyOf(errors) };
  const [first] = periods;
  if (first === undefined) return { kind: 'unknown', score };
  const last = periods.at(-1) ?? first;
  const largest = (pick: (value: Resources) => number): number =>
    Math.max(...periods.map(({ demand }) => pick(demand)));
  return {
    kind: 'known',
    wanted: {
      cpuMilli: largest(({ cpuMilli }) => cpuMilli),
      memoryMib: largest(({ memoryMib }) => memoryMib),
      gpus: largest(({ gpus }) => gpus),
    },
    untilMs: last.atMs + PERIOD_MS,
    season: last.season,
    seasons: last.seasons,
    score,
  };
}

/** 1 minus the weighted absolute error of the resource that was forecast worst; null while nothing was scored. */
function accuracyOf({ periods, actual, error }: ForecastErrors): number | null {
  if (periods === 0) return null;
  const wrong = (errorSum: number, actualSum: number): number =>
    errorSum === 0 ? 0 : actualSum === 0 ? 1 : Math.min(1, errorSum / actualSum);
  return (
    1 -
    Math.max(
      wrong(error.cpuMilli, actual.cpuMilli),
      wrong(error.memoryMib, actual.memoryMib),
      wrong(error.gpus, actual.gpus),
    )
  );
}

/** Why a forecast may not act; null = it may. */
function objectionTo({ mode, minAccuracy }: ForecastSignal, { score }: ForecastView): string | null {
  if (mode === 'ForecastOnly') return 'ForecastOnly does nothing about it';
  if (score.accuracy === null || score.periods < SCORED_MIN)
    return `nothing is done before ${SCORED_MIN} periods are scored`;
  return score.accuracy < minAccuracy ? `nothing is done below ${percent(minAccuracy)}` : null;
}

/** What is expected beyond what the workload has and wants now; nothing when the forecast may not act. */
export function missingForForecast({ policy, forecast, heldLocally, pending }: WorkloadInput, fleet: Fleet): Resources {
  const signal = policy.demand.forecast;
  if (signal === undefined || forecast?.kind !== 'known' || objectionTo(signal, forecast) !== null) return NO_RESOURCES;
  const inCloud = fleet.reporting.filter(({ machine }) => machine !== null).map(({ agent }) => agent.allocated);
  const waiting = pending.map((group) => multiplyResources(group.shape, group.count));
  const now = [...inCloud, ...waiting].reduce(addResources, heldLocally ?? NO_RESOURCES);
  return subtractResources(forecast.wanted, now);
}

/** What the forecast says and whether anything is done about it; told in every plan of a workload that has one. */
export function forecastReasons({ policy, forecast }: WorkloadInput): PlanReason[] {
  const signal = policy.demand.forecast;
  if (signal === undefined || forecast === undefined) return [];
  return [
    { code: 'forecast', detail: `${forecastText(forecast)}, ${scoreText(forecast)}${actText(signal, forecast)}` },
  ];
}

function forecastText(forecast: ForecastView): string {
  if (forecast.kind === 'unknown')
    return `no forecast: fewer than ${SEASONS_MIN} days or weeks are known at this time of day`;
  const { wanted, untilMs, season, seasons } = forecast;
  const until = `${new Date(untilMs).toISOString().slice(0, 16)}Z`;
  return `${needText(wanted, null)} until ${until}, the median of ${seasons} ${season}s at that time`;
}

function scoreText({ score: { periods, accuracy } }: ForecastView): string {
  return accuracy === null ? 'not scored yet' : `accuracy ${percent(accuracy)} over ${periods} periods`;
}

function actText(signal: ForecastSignal, forecast: ForecastView): string {
  const objection = forecast.kind === 'unknown' ? null : objectionTo(signal, forecast);
  return objection === null ? '' : `; ${objection}`;
}
