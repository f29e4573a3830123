/** How long one decision pass takes for a large datacenter, and how that grows. Pure computation; nothing is started. */
import type { Amount, NodeType } from '../src/backtest/types.ts';
import type { Scaler } from '../src/backtest/scaler.ts';
import { planAll } from '../src/planner/plan.ts';
import type { PlannerInput } from '../src/planner/types.ts';
import { karpenter } from './baselines/karpenter.ts';
import { ray } from './baselines/ray.ts';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { readCatalogueTypes, toOffering } from './support/catalogue.ts';
import { describeMachine } from './support/machine.ts';
import { stillView, type BareNode } from './support/peer-view.ts';
import { familyOfferings, karpenterInput, mixedInput, rayInput } from './support/planner-inputs.ts';
import { quantile } from './support/stats.ts';

/** The compiler is done with a pass after some ten of them. */
const WARM_UPS = 12;
const RUNS = 15;

export const planner: Bench = {
  name: 'planner',
  about: 'one decision pass over up to 10,000 agents and 100,000 pending tasks; the failing cases of Karpenter and Ray',
  async run(context) {
    const families = familyOfferings(10);
    const small = measure(context, '1,000 agents, 10,000 tasks', () =>
      mixedInput({ agents: 1000, tasks: 10_000, shapes: 200 }, families),
    );
    const large = measure(context, '10,000 agents, 100,000 tasks', () =>
      mixedInput({ agents: 10_000, tasks: 100_000, shapes: 200 }, families),
    );
    return [
      figure('pass-10k', small, '1,000 agents, 10,000 pending tasks in 200 shapes'),
      figure('pass-100k', large, '10,000 agents, 100,000 pending tasks in 200 shapes'),
      makeFigure(
        'planner',
        'growth',
        large.cpuMs / small.cpuMs,
        'ratio',
        'CPU time of 100,000 tasks to that of 10,000',
      ),
      ...peerCases(context),
      ...(await shapesCases(context)),
    ];
  },
};

/** Many unlike tasks: on agents, and where there are none. */
async function shapesCases(context: BenchContext): Promise<Figure[]> {
  const types = await readCatalogueTypes(context);
  const offerings = types === null ? familyOfferings(35) : types.flatMap((type) => toOffering(type));
  return [3125, 0].map((agents) => {
    const about = `${agents} agents, 10,000 tasks in 2,000 shapes, ${offerings.length / 3} types in three zones`;
    const measured = measure(context, about, () => mixedInput({ agents, tasks: 10_000, shapes: 2000 }, offerings));
    return figure(agents === 0 ? 'shapes, all for the cloud' : 'shapes', measured, about);
  });
}

/** What peers are known to be slow at, with their rule for the same tasks beside it. */
function peerCases(context: BenchContext): Figure[] {
  const figures: Figure[] = [];
  for (const tasks of [10_000, 20_000]) {
    const input = karpenterInput(tasks);
    const own = measure(context, `Karpenter's mix, ${tasks} tasks`, () => input);
    const rule = measureRule(karpenter({ types: typesOf(input), emptyS: 0 }), input);
    const mix = `no agents, ${tasks} tasks of Karpenter's benchmark without its topology rules, 400 types in three zones`;
    figures.push(figure(`karpenter-${tasks / 1000}k`, own, mix));
    figures.push(
      figure(`karpenter-${tasks / 1000}k, Karpenter's rule`, rule, `${mix}; our own program, types in one zone`),
    );
  }
  const input = rayInput(familyOfferings(10));
  const own = measure(context, "Ray's failing case", () => input);
  const rule = measureRule(ray({ types: typesOf(input) }), input);
  figures.push(figure('ray', own, '1,337 agents, 13,315 equal tasks of 2 cores'));
  figures.push(figure("ray, Ray's rule", rule, 'our own program, which counts equal tasks instead of listing them'));
  return figures;
}

interface Measured {
  readonly cpuMs: number;
  readonly detail: string;
}

function figure(name: string, { cpuMs, detail }: Measured, about: string): Figure {
  return makeFigure('planner', name, cpuMs, 'ms of CPU', `${about}; ${detail}; ${describeMachine()}`);
}

function measure({ progress, signal }: BenchContext, about: string, makeInput: () => PlannerInput): Measured {
  signal.throwIfAborted();
  progress(about);
  const input = makeInput();
  const { outcome, ...measured } = time(() => planAll(input));
  const launches = outcome.workloads
    .flatMap(({ actions }) => actions)
    .reduce((sum, action) => sum + (action.kind === 'launch' ? action.count : 0), 0);
  return { cpuMs: measured.cpuMs, detail: `${launches} machines planned, ${measured.detail}` };
}

function measureRule(scaler: Scaler, input: PlannerInput): Measured {
  const nodes: BareNode[] = input.agents.map(({ capacity, allocated }) => ({
    free: amountOf({
      cpuMilli: capacity.cpuMilli - allocated.cpuMilli,
      memoryMib: capacity.memoryMib - allocated.memoryMib,
    }),
  }));
  const pending = input.workloads.flatMap((workload) =>
    workload.pending.map(({ shape, count }) => ({ need: amountOf(shape), count })),
  );
  const { outcome, ...measured } = time(() => scaler.decide(stillView(pending, nodes)));
  const launches = outcome.launch.reduce((sum, { count }) => sum + count, 0);
  return { cpuMs: measured.cpuMs, detail: `${launches} machines planned, ${measured.detail}` };
}

/** CPU time of all threads: on a machine that does other things, too, it is less noisy than the time on the wall. */
function time<T>(pass: () => T): Measured & { readonly outcome: T } {
  const cpuMs: number[] = [];
  const wallMs: number[] = [];
  let outcome = pass();
  for (let run = 1; run < WARM_UPS + RUNS; run += 1) {
    const startedMs = performance.now();
    const before = process.cpuUsage();
    outcome = pass();
    const { user, system } = process.cpuUsage(before);
    if (run < WARM_UPS) continue;
    wallMs.push(performance.now() - startedMs);
    cpuMs.push((user + system) / 1000);
  }
  const detail = `median of ${RUNS}; least ${Math.min(...cpuMs).toFixed(1)}, ${quantile(wallMs, 0.5).toFixed(1)} ms on the wall`;
  return { cpuMs: quantile(cpuMs, 0.5), detail, outcome };
}

function amountOf({ cpuMilli, memoryMib }: Pick<Amount, 'cpuMilli' | 'memoryMib'>): Amount {
  return { cpuMilli, memoryMib, gpuMilli: 0 };
}

/** The types offered, once each. */
function typesOf({ workloads }: PlannerInput): NodeType[] {
  const types = new Map<string, NodeType>();
  for (const { instanceType, priceUsdPerHour } of workloads.flatMap(({ offerings }) => offerings ?? [])) {
    const { name, family, architecture, burstable, resources } = instanceType;
    const capacity = amountOf(resources);
    types.set(name, { name, family, arch: architecture, burstable, capacity, priceUsdPerHour, spotUsdPerHour: null });
  }
  return [...types.values()];
}
