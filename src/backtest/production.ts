/**
 * The real planner as a scaler of the replay: `planAll` with a real policy, on the replay's world. A plan's launches become
 * nodes, its drains end nodes without work at once, because nothing takes time here but booting; a node that still works is
 * cordoned, and ends with its work.
 *
 * A pass costs more than all the rest of a replay, so `planAll` is asked only when it could decide something new: a task has
 * come that found no place, a node has become ready while tasks still wait, an idle node or a waiting task reaches its
 * deadline, a limit of time that bound has passed. Whatever only gives room (a task ends, a waiting task is placed) cannot make
 * a plan launch more. With a utilization signal or a schedule it is asked at every tick, because every sample and every minute counts.
 */
import type { WorkloadPolicy } from '../model/policy.ts';
import type { EpochMs } from '../model/time.ts';
import { HOUR_MS, SECOND_MS } from '../model/time.ts';
import { planAll } from '../planner/plan.ts';
import type { OpenWindow, PlanAction, PlannerInput, ReasonCode, WorkloadPlan } from '../planner/types.ts';
import {
  cloudAgent,
  listMarketTypes,
  localAgent,
  letGoAtS,
  machineView,
  nodeIdOf,
  pendingShape,
  toMs,
} from './production-view.ts';
import { ChurnWindow } from './churn-window.ts';
import { allowedMarketTypes, usefulMarketTypes } from './production-types.ts';
import type { MarketType } from './production-view.ts';
import type { Decision, PendingView, Scaler, ScalerView } from './scaler.ts';
import { NO_CHANGE } from './scaler.ts';
import type { NodeType } from './types.ts';
import { UtilizationWindow } from './utilization-window.ts';

export interface ProductionOptions {
  readonly policy: WorkloadPolicy;
  readonly types: readonly NodeType[];
  /** Time between two plans; the service's default is 5 s. */
  readonly tickS?: number;
  /** Windows of the policy's schedule that are open at a moment; the log begins on Saturday, 1 January 2000, 00:00 UTC. */
  readonly windowsAt?: WindowsAt | null;
  /** Ask the planner at every tick, needed or not: the same figures, much later. Tests compare the two. */
  readonly asksAlways?: boolean;
}

type WindowsAt = (nowMs: EpochMs) => readonly OpenWindow[];

/** Why launches or drains were held back, and how often a pass said so. */
export type ReasonCounts = Readonly<Record<string, number>>;

export interface ProductionScaler extends Scaler {
  /** What the policy allows to launch, at the prices of the markets it wants. */
  readonly types: readonly NodeType[];
  /** So far. */
  report(): { readonly plans: number; readonly reasons: ReasonCounts };
}

const TICK_S = 5;
const HOUR_S = HOUR_MS / SECOND_MS;
/** A node's memory is all for tasks here, as it is for every other scaler in this frame. */
const NO_RESERVE = Object.freeze({ memoryMib: 0, memoryShare: 0 });

/** The service's planner under one policy. */
export function productionScaler({
  policy,
  types,
  tickS = TICK_S,
  asksAlways = false,
  windowsAt = null,
}: ProductionOptions): ProductionScaler {
  const allowed = allowedMarketTypes(policy, listMarketTypes(types, policy));
  const planner = new PlannerScaler(policy, asksAlways ? allowed : usefulMarketTypes(allowed), {
    asksAlways,
    windowsAt,
  });
  return {
    name: policy.name,
    tickS,
    types: allowed.map(({ type }) => type),
    decide: (view) => planner.decide(view),
    report: () => planner.report(),
  };
}

class PlannerScaler {
  readonly #policy: WorkloadPolicy;
  readonly #asksAlways: boolean;
  readonly #windowsAt: WindowsAt | null;
  /** Room that tasks leave may let a node go that still works. */
  readonly #consolidates: boolean;
  readonly #markets: readonly MarketType[];
  readonly #typeByOffering: ReadonlyMap<string, MarketType>;
  readonly #marketOf = new Map<NodeType, MarketType['market']>();
  readonly #window: UtilizationWindow | null;
  readonly #churn = new ChurnWindow();
  readonly #reasons = new Map<string, number>();
  /** Moments of launches within the last hour, oldest first, one per node. */
  #launchesS: number[] = [];
  #lastLaunchS: number | null = null;
  #lastDrainS: number | null = null;
  #plannedS = -Infinity;
  #bootingThen = 0;
  /** Without news the planner has nothing to say before this. */
  #againS = -Infinity;
  #plans = 0;

  constructor(
    policy: WorkloadPolicy,
    markets: readonly MarketType[],
    { asksAlways, windowsAt }: Required<Pick<ProductionOptions, 'asksAlways' | 'windowsAt'>>,
  ) {
    this.#policy = policy;
    this.#asksAlways = asksAlways;
    this.#windowsAt = windowsAt;
    this.#consolidates = policy.drain.consolidation !== 'whenEmpty';
    this.#markets = markets;
    this.#typeByOffering = new Map(markets.map((each) => [keyOf(each.offering), each]));
    for (const { type, market } of markets) this.#marketOf.set(type, market);
    const signal = policy.demand.utilization;
    this.#window = signal === null ? null : new UtilizationWindow(signal.windowMs / SECOND_MS);
  }

  decide(view: ScalerView): Decision {
    const decision = this.#decide(view);
    // The work of a cordoned node is done: it goes, unless this very plan takes it back.
    const kept = new Set(decision.uncordon);
    const done = view.idleNodes().filter(({ id, cordoned }) => cordoned && !kept.has(id));
    return { ...decision, terminate: [...decision.terminate, ...done.map(({ id }) => id)] };
  }

  #decide(view: ScalerView): Decision {
    const pending = view.pending().filter(({ staysLocal }) => !staysLocal);
    this.#window?.add(view);
    const nothingS = this.#nothingBeforeS(view, pending);
    if (nothingS > view.nowS) return { ...NO_CHANGE, quietUntilS: nothingS };
    const plan = this.#plan(view, pending);
    const decision = this.#carryOut(view, plan.actions);
    this.#plannedS = view.nowS;
    this.#bootingThen = countBooting(view) + decision.launch.reduce((sum, { count }) => sum + count, 0);
    const isEach = this.#window !== null || this.#windowsAt !== null || this.#asksAlways || this.#mayConsolidate(view);
    this.#againS = isEach ? view.nowS : this.#nextS(view, pending, plan);
    return { ...decision, quietUntilS: this.#againS };
  }

  report(): { plans: number; reasons: ReasonCounts } {
    const reasons = Object.fromEntries([...this.#reasons].sort(([a], [b]) => (a < b ? -1 : 1)));
    return { plans: this.#plans, reasons };
  }

  /** Until when a pass would decide nothing, unless something happens; now = ask it. */
  #nothingBeforeS(view: ScalerView, pending: readonly PendingView[]): number {
    const { nowS } = view;
    const isFirst = this.#plans === 0 || this.#asksAlways;
    const { demand, burst } = this.#policy;
    const needsEach =
      this.#window !== null ||
      this.#windowsAt !== null ||
      this.#mayConsolidate(view) ||
      demand.headroom !== null ||
      burst.limits.min > 0;
    const hasNew = pending.some((group) => group.submittedBy(this.#plannedS) < group.count);
    const hasMissed = pending.length > 0 && countBooting(view) < this.#bootingThen;
    if (isFirst || needsEach || hasNew || hasMissed) return nowS;
    return Math.min(Math.max(this.#againS, nowS), this.#nextIdleS(view));
  }

  /** With two nodes at work, every moment and every task that ends may let one of them go. */
  #mayConsolidate(view: ScalerView): boolean {
    return this.#consolidates && view.nodeCount - view.idleNodes().length > 1;
  }

  /** When the first idle node will have been idle, and alive, for long enough. */
  #nextIdleS(view: ScalerView): number {
    const dueS = view.idleNodes().map((node) => letGoAtS(node, this.#policy));
    // What was due at the last pass and still stays is kept for a reason, which has its own time.
    return Math.min(Infinity, ...dueS.filter((due) => due > this.#plannedS));
  }

  #plan(view: ScalerView, pending: readonly PendingView[]): WorkloadPlan {
    this.#plans += 1;
    const [plan] = planAll(this.#input(view, pending)).workloads;
    if (plan === undefined) throw new Error('bug: the planner planned nothing for the workload');
    for (const { code } of plan.report.reasons) this.#reasons.set(code, (this.#reasons.get(code) ?? 0) + 1);
    return plan;
  }

  #input(view: ScalerView, pending: readonly PendingView[]): PlannerInput {
    const policy = this.#policy;
    const nowMs = toMs(view.nowS);
    this.#launchesS = this.#launchesS.filter((atS) => atS > view.nowS - HOUR_S);
    const nodes = [...view.nodes];
    const maxWaitS = (policy.demand.queue?.maxWaitMs ?? 0) / SECOND_MS;
    return {
      nowMs,
      reserve: NO_RESERVE,
      agents: [
        ...view.locals.map((local) => localAgent(local, policy, nowMs)),
        ...nodes.filter(({ state }) => state === 'ready').map((node) => cloudAgent(node, nowMs)),
      ],
      machines: nodes.map((node) => machineView(node, this.#marketOf.get(node.type) ?? 'on-demand', policy)),
      workloads: [
        {
          policy,
          pending: pending.map((group) => pendingShape(group, view.nowS - maxWaitS)),
          utilization: this.#window?.mean() ?? null,
          offerings: this.#markets.map(({ offering }) => offering),
          unavailableOfferings: 0,
          launchedLastHour: this.#launchesS.length,
          lastLaunchAtMs: this.#lastLaunchS === null ? null : toMs(this.#lastLaunchS),
          lastDrainAtMs: this.#lastDrainS === null ? null : toMs(this.#lastDrainS),
          churn: this.#churn.view(view.nowS),
          cloudViewFresh: true,
          windows: this.#windowsAt?.(nowMs) ?? [],
        },
      ],
    };
  }

  #carryOut(view: ScalerView, actions: readonly PlanAction[]): Decision {
    const launch: { type: NodeType; count: number }[] = [];
    const terminate: number[] = [];
    const cordon: number[] = [];
    const uncordon: number[] = [];
    for (const action of actions) {
      if (action.kind === 'launch') {
        const market = this.#typeByOffering.get(keyOf(action.offering));
        if (market === undefined) throw new Error(`bug: ${keyOf(action.offering)} was not offered`);
        launch.push({ type: market.type, count: action.count });
        for (let node = 0; node < action.count; node += 1) this.#launchesS.push(view.nowS);
        this.#churn.launch(market.type, view.nowS, action.count);
        this.#lastLaunchS = view.nowS;
      } else if (action.kind === 'drain') {
        const gone = action.why === 'underutilized' ? cordon : terminate;
        gone.push(nodeIdOf(action.machineId));
        this.#noteGone(view, nodeIdOf(action.machineId));
      } else if (action.kind === 'undrain') uncordon.push(nodeIdOf(action.machineId));
      // Nodes of a backtest are never stopped.
      else throw new Error(`bug: ${action.kind} of a machine that cannot be stopped`);
    }
    return { launch, terminate, cordon, uncordon };
  }

  #noteGone(view: ScalerView, nodeId: number): void {
    this.#lastDrainS = view.nowS;
    for (const { id, type, readyAtS, launchedAtS } of view.idleNodes()) {
      if (id === nodeId) this.#churn.letGo(type, view.nowS, readyAtS - launchedAtS);
    }
  }

  /** When the next pass could decide something else although nothing has happened. */
  #nextS(view: ScalerView, pending: readonly PendingView[], { actions, report }: WorkloadPlan): number {
    if (actions.length > 0) return view.nowS;
    const { drain, demand } = this.#policy;
    const moments: number[] = [this.#nextIdleS(view)];
    const maxWaitS = (demand.queue?.maxWaitMs ?? 0) / SECOND_MS;
    for (const group of pending) {
      if (maxWaitS > 0) moments.push(group.submitS(group.submittedBy(view.nowS - maxWaitS)) + maxWaitS);
    }
    const later: Partial<Record<ReasonCode, number>> = {
      'cooldown-scale-up': (this.#lastLaunchS ?? view.nowS) + drain.cooldown.scaleUpMs / SECOND_MS,
      'cooldown-scale-down': (this.#lastDrainS ?? view.nowS) + drain.cooldown.scaleDownMs / SECOND_MS,
      'at-launches-per-hour': (this.#launchesS[0] ?? view.nowS) + HOUR_S,
      'at-max-scale-up': view.nowS,
      'at-max-scale-down': view.nowS,
      'at-drain-budget': view.nowS,
      'churn-breaker': view.nowS,
    };
    for (const { code } of report.reasons) moments.push(later[code] ?? Infinity);
    return Math.min(...moments);
  }
}

function keyOf({ instanceType, market }: MarketType['offering']): string {
  return `${instanceType.name}/${market}`;
}

function countBooting(view: ScalerView): number {
  let count = 0;
  for (const { state } of view.nodes) if (state === 'booting') count += 1;
  return count;
}
