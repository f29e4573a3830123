/**
 * How long the service's event loop stands still for one decision pass over 10,000 agents and 100,000 pending tasks: reading
 * them from Postgres, planning, and writing both down as the commit does. Agents' reports wait meanwhile.
 */
import type { Pool } from 'pg';
import { readPlannerInput } from '../src/loops/plan-input.ts';
import { CloudView } from '../src/loops/ports.ts';
import { planAll } from '../src/planner/plan.ts';
import type { PlannerInput } from '../src/planner/types.ts';
import { createDatabase } from '../src/store/database.ts';
import { createPlanningStore } from '../src/store/planning.ts';
import { systemClock } from '../src/wiring/system.ts';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { openBenchDatabase } from './support/database.ts';
import { describeMachine } from './support/machine.ts';
import { familyOfferings, mixedInput } from './support/planner-inputs.ts';
import { quantile } from './support/stats.ts';

const WARM_UPS = 12;
const RUNS = 15;

export const planBlock: Bench = {
  name: 'plan-block',
  about: 'the longest block of the event loop in a decision pass over 10,000 agents and 100,000 pending tasks',
  async run(context) {
    const input = mixedInput({ agents: 10_000, tasks: 100_000, shapes: 200 }, familyOfferings(10));
    const database = await openBenchDatabase();
    try {
      context.progress('writing 10,000 agents and 100,000 tasks');
      await seed(database.pool, input);
      return await measure(context, database.pool, input);
    } finally {
      await database.stop();
    }
  },
};

async function measure({ signal, progress }: BenchContext, pool: Pool, input: PlannerInput): Promise<Figure[]> {
  const planning = createPlanningStore(createDatabase(pool));
  const [workload] = input.workloads;
  if (workload === undefined) throw new Error('bug: the input has no workload');
  const offerings = {
    list: async () => workload.offerings,
    image: () => Promise.reject(new Error('bug: not asked for')),
  };
  const ports = { planning, offerings, view: new CloudView(), clock: systemClock };
  const watch = new LoopWatch();
  progress(`${WARM_UPS + RUNS} passes`);
  for (let run = 0; run < WARM_UPS + RUNS; run += 1) {
    signal.throwIfAborted();
    await watch.turn('idle');
    const { input: seen } = await readPlannerInput(ports, [workload.policy]);
    await watch.turn('read');
    const outcome = planAll(seen);
    await watch.turn('plan');
    JSON.stringify(seen);
    JSON.stringify(outcome);
    await watch.turn('write');
    // What handing the input to another thread would cost this one: more than half of it is spent before the other begins.
    structuredClone(seen);
    await watch.turn('clone');
    if (run + 1 === WARM_UPS) watch.forget();
  }
  watch.stop();
  return ['read', 'plan', 'write', 'clone'].map((part) => figure(part, watch.blocksOf(part)));
}

function figure(part: string, blocks: readonly Block[]): Figure {
  const cpuMs = blocks.map((block) => block.cpuMs);
  const wallMs = blocks.map((block) => block.wallMs);
  const detail =
    `longest block of the loop by CPU time, median of ${RUNS} passes; least ${Math.min(...cpuMs).toFixed(1)}, ` +
    `most ${Math.max(...cpuMs).toFixed(1)}, ${quantile(wallMs, 0.5).toFixed(1)} ms on the wall; ${describeMachine()}`;
  return makeFigure('plan-block', part, quantile(cpuMs, 0.5), 'ms of CPU', detail);
}

interface Block {
  readonly cpuMs: number;
  readonly wallMs: number;
}

/** Measures each turn of the event loop and keeps the longest of each part of a pass. */
class LoopWatch {
  readonly #blocks = new Map<string, Block[]>();
  #longest: Block = { cpuMs: 0, wallMs: 0 };
  #lastMs = performance.now();
  #lastCpu = process.cpuUsage();
  #isStopped = false;

  constructor() {
    this.#tick();
  }

  /** The part that was going on is over: what the loop did last belongs to it, too. */
  async turn(part: string): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    const list = this.#blocks.get(part) ?? [];
    list.push(this.#longest);
    this.#blocks.set(part, list);
    this.#longest = { cpuMs: 0, wallMs: 0 };
  }

  blocksOf(part: string): readonly Block[] {
    return this.#blocks.get(part) ?? [];
  }

  forget(): void {
    this.#blocks.clear();
  }

  stop(): void {
    this.#isStopped = true;
  }

  #tick(): void {
    const { user, system } = process.cpuUsage(this.#lastCpu);
    const block = { cpuMs: (user + system) / 1000, wallMs: performance.now() - this.#lastMs };
    if (block.cpuMs > this.#longest.cpuMs) this.#longest = block;
    this.#lastCpu = process.cpuUsage();
    this.#lastMs = performance.now();
    if (!this.#isStopped) setImmediate(() => this.#tick());
  }
}

/** The input's agents and tasks as rows. */
async function seed(pool: Pool, { agents, workloads }: PlannerInput): Promise<void> {
  await pool.query(
    `insert into spillway.agents (id, name, site, labels, token_hash, capacity_cpu_milli, capacity_memory_mib, last_seen_at)
     select id, id, 'on-prem', '{"pool": "bench"}', encode(sha256(id::bytea), 'hex'), cpu, memory, spillway.now() + interval '1 hour'
     from unnest($1::text[], $2::int[], $3::int[]) as a(id, cpu, memory)`,
    [
      agents.map(({ id }) => id),
      agents.map(({ capacity }) => capacity.cpuMilli),
      agents.map(({ capacity }) => capacity.memoryMib),
    ],
  );
  const shapes = workloads.flatMap(({ pending }) =>
    pending.flatMap(({ shape, count }) => Array<typeof shape>(count).fill(shape)),
  );
  await pool.query(
    `insert into spillway.tasks (id, workload, command, cpu_milli, memory_mib, state)
     select 'tk-' || lpad(number::text, 12, '0'), 'bench', '["true"]', cpu, memory, 'pending'
     from unnest($1::int[], $2::int[]) with ordinality as t(cpu, memory, number)`,
    [shapes.map(({ cpuMilli }) => cpuMilli), shapes.map(({ memoryMib }) => memoryMib)],
  );
  await pool.query('analyze spillway.agents, spillway.tasks');
}
