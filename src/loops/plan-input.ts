import { holdKeysOf, holdKeyText, holdNameOf, joinHoldKey, type Hold } from '../model/holds.ts';
import type { Offering } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { HoldView, MachineView, PlannerInput, SilenceView, WorkloadInput } from '../planner/types.ts';
import { findSilence } from '../planner/doubt.ts';
import { forecastPeriods, viewForecast } from '../planner/forecast.ts';
import type { DemandRecord, PlanningFacts } from '../ports/planning.ts';
import { openSince, openWindows } from '../policy/schedule.ts';
import type { LoopPorts } from './ports.ts';

/** A listing of the cloud older than this is no picture to remove machines by: two missed sweeps and some. */
const CLOUD_VIEW_MAX_AGE_MS = 2 * MINUTE_MS;

/**
 * One decision pass's whole knowledge. Offerings are asked for before the snapshot is taken, so that what is oldest in
 * it is the slow part and never the tasks.
 */
export async function readPlannerInput(
  ports: Pick<LoopPorts, 'offerings' | 'planning' | 'view' | 'clock'>,
  policies: readonly WorkloadPolicy[],
): Promise<SeenWorld> {
  const offerings = new Map<string, readonly Offering[] | null>();
  for (const policy of policies) offerings.set(policy.name, await ports.offerings.list(policy));
  const facts = await ports.planning.readFacts(policies);
  const forecasts = new Map(policies.flatMap((policy) => forecastOf(facts, policy)));
  const input: PlannerInput = {
    nowMs: facts.nowMs,
    agents: facts.agents,
    machines: facts.machines.map((machine) => withHeldStart(facts.holds, machine, policies)),
    ...(facts.amnesia === null ? {} : { amnesia: facts.amnesia }),
    workloads: policies.map((policy) => ({
      ...workloadInput(ports, facts, policy, offerings.get(policy.name) ?? null),
      ...forecasts.get(policy.name)?.seen,
    })),
  };
  return { input, records: [...forecasts.values()].map(({ record }) => record) };
}

/** A stopped machine whose like EC2 refused is left alone until the hold may be tried again. */
function withHeldStart(holds: readonly Hold[], machine: MachineView, policies: readonly WorkloadPolicy[]): MachineView {
  const { state, instanceType, zone, market } = machine;
  const region = policies.find(({ name }) => name === machine.workload)?.burst.region;
  if (state !== 'stopped' || region === undefined) return machine;
  const offering = { region, instanceType, zone, market, subnetId: '' };
  const isHeld = holds.some(
    (hold) =>
      hold.state !== 'half-open' &&
      (hold.scope === 'offering' || hold.scope === 'quota') &&
      hold.name === holdNameOf(offering, hold.scope),
  );
  return isHeld ? { ...machine, startHeld: true } : machine;
}

/** What the planner is asked about, and what is worth keeping of it for later forecasts. */
interface SeenWorld {
  readonly input: PlannerInput;
  readonly records: readonly DemandRecord[];
}

function forecastOf(
  { workloads, nowMs }: PlanningFacts,
  { name, demand }: WorkloadPolicy,
): [string, { readonly seen: Pick<WorkloadInput, 'forecast'>; readonly record: DemandRecord }][] {
  const history = workloads.get(name)?.history;
  if (demand.forecast === undefined || history === undefined) return [];
  const forecasts = forecastPeriods(history.past, { nowMs, leadTimeMs: demand.forecast.leadTimeMs });
  const seen = { forecast: viewForecast(forecasts, history.errors) };
  return [[name, { seen, record: { workload: name, nowMs, forecasts } }]];
}

function workloadInput(
  ports: Pick<LoopPorts, 'view' | 'clock'>,
  facts: PlanningFacts,
  policy: WorkloadPolicy,
  offerings: readonly Offering[] | null,
): WorkloadInput {
  const known = facts.workloads.get(policy.name);
  if (known === undefined) throw new Error(`bug: no facts were read for workload ${policy.name}`);
  // What a forecast was made of is not stored with every plan: the forecast is.
  const { history: _history, ...seen } = known;
  const holds = readHolds(facts.holds, policy);
  const available = offerings?.flatMap((offering) => holds.judge(offering)) ?? null;
  const silence = silenceOf(ports, facts, policy);
  const windows = openWindows(policy.demand.schedule ?? [], facts.nowMs);
  return {
    policy,
    ...seen,
    offerings: available,
    unavailableOfferings: (offerings?.length ?? 0) - (available?.length ?? 0),
    holds: holds.ofWorkload,
    cloudViewFresh: ports.view.isFresh(policy.burst.region, ports.clock.monotonicMs(), CLOUD_VIEW_MAX_AGE_MS),
    ...(windows.length === 0 ? {} : { windows }),
    ...openBudgets(policy, facts.nowMs),
    ...(silence === null ? {} : { silence }),
  };
}

/** Left out when none is open, so that plans of policies without them are stored as before. */
function openBudgets({ drain }: WorkloadPolicy, nowMs: number): Pick<WorkloadInput, 'budgetWindows'> {
  const budgetWindows = drain.budgets.flatMap(({ window }, budget) => {
    const open = window === undefined ? null : openSince(window, nowMs);
    return open === null ? [] : [{ budget, untilMs: open.untilMs }];
  });
  return budgetWindows.length === 0 ? {} : { budgetWindows };
}

/** Silence is counted from when this process first saw it: while it could see nothing, it heard nobody. */
function silenceOf(
  { view, clock }: Pick<LoopPorts, 'view' | 'clock'>,
  { agents, nowMs }: PlanningFacts,
  policy: WorkloadPolicy,
): SilenceView | null {
  const silence = findSilence(agents, policy, nowMs);
  const look = { nowMs: clock.monotonicMs(), gapMaxMs: policy.demand.freshnessMs };
  const forMs = view.noteSilence(policy.name, silence !== null, look);
  return silence === null ? null : { ...silence, forMs };
}

interface ReadHolds {
  readonly ofWorkload: readonly HoldView[];
  /** Nothing for an offering that is held; with the holds it would try again, for one that may be tried. */
  readonly judge: (offering: Offering) => readonly Offering[];
}

function readHolds(holds: readonly Hold[], { name, burst: { region, image } }: WorkloadPolicy): ReadHolds {
  const byKey = new Map(holds.map((hold) => [holdKeyText(hold), hold]));
  const wide = holds.filter(
    (hold) =>
      (hold.scope === 'workload' && hold.name === name) ||
      (hold.scope === 'join' && hold.name.startsWith(`${name}/`)) ||
      (hold.scope === 'region' && hold.name === region) ||
      (hold.scope === 'quota' && hold.name.startsWith(`${region}/`)),
  );
  return {
    ofWorkload: wide.map(toView),
    judge(offering) {
      const keys = holdKeysOf({ ...offering, region, instanceType: offering.instanceType.name }).filter(
        // What is held as a whole is the workload's matter, not each offering's.
        ({ scope }) => scope !== 'region',
      );
      const { name: instanceType, architecture } = offering.instanceType;
      const join = joinHoldKey({ workload: name, imageId: image[architecture] ?? '', instanceType });
      const met = [...keys, join].map(holdKeyText).filter((key) => byKey.has(key));
      if (met.length === 0) return [offering];
      return met.every((key) => byKey.get(key)?.state === 'half-open') ? [{ ...offering, probes: met }] : [];
    },
  };
}

function toView(hold: Hold): HoldView {
  const { errorClass, errorCode, scope, state, untilMs } = hold;
  return {
    key: holdKeyText(hold),
    isWide: scope !== 'quota' && scope !== 'join',
    errorClass,
    errorCode,
    state,
    untilMs,
  };
}
