/**
 * Goal: plans that are right one by one must also be right one after another. Method: a wave of equal tasks on a small
 * model of the world (tasks are leased local first, machines boot, drains take a tick), planned every five seconds.
 */
import { expect, it } from 'vitest';
import { planAll } from '../../src/planner/plan.ts';
import type { AgentView, MachineView, PlanAction } from '../../src/planner/types.ts';
import { NOW, TASK, agent, agentId, cores, machine, pending, policy, workload } from './fixtures.ts';

const TICK_MS = 5000;
const BOOT_TICKS = 12;
const RUN_TICKS = 8;
const TASKS = 40;
const LOCAL_CORES = 16;

interface Worker {
  readonly id: number;
  readonly slots: number;
  readonly bornTick: number | null;
  readonly machine: MachineView | null;
  /** Ticks at which its tasks end. */
  running: number[];
  idleSinceTick: number;
  state: 'booting' | 'ready' | 'draining' | 'gone';
}

function views(workers: readonly Worker[], tick: number): { agents: AgentView[]; machines: MachineView[] } {
  const nowMs = NOW + tick * TICK_MS;
  const here = workers.filter(({ state }) => state !== 'gone');
  const agents = here
    .filter(({ state }) => state !== 'booting')
    .map((worker) =>
      agent(worker.id, {
        site: worker.machine === null ? 'on-prem' : 'aws',
        capacity: cores(worker.slots * 2),
        allocated: cores(worker.running.length * 2),
        runningTasks: worker.running.length,
        cordoned: worker.state === 'draining',
        lastSeenAtMs: nowMs,
        machineId: worker.machine?.id ?? null,
      }),
    );
  const machines = here.flatMap((worker): MachineView[] => {
    if (worker.machine === null || worker.state === 'gone') return [];
    const isIdle = worker.running.length === 0 && worker.state !== 'booting';
    const idleSinceMs = isIdle ? NOW + worker.idleSinceTick * TICK_MS : null;
    return [
      {
        ...worker.machine,
        state: worker.state,
        idleSinceMs,
        agentId: worker.state === 'booting' ? null : agentId(worker.id),
      },
    ];
  });
  return { agents, machines };
}

interface Wave {
  readonly workers: Worker[];
  waiting: number;
  done: number;
  readonly launchTicks: number[];
  readonly drainTicks: number[];
}

/** One worker's tick: boots, finishes tasks, leaves when drained, takes new tasks. */
function live(wave: Wave, worker: Worker, tick: number): void {
  if (worker.state === 'booting' && tick - (worker.bornTick ?? 0) >= BOOT_TICKS) {
    Object.assign(worker, { state: 'ready', idleSinceTick: tick });
  }
  const left = worker.running.filter((end) => end > tick);
  wave.done += worker.running.length - left.length;
  if (left.length < worker.running.length) worker.idleSinceTick = tick;
  worker.running = left;
  if (worker.state === 'draining' && left.length === 0) worker.state = 'gone';
  const takes = worker.state === 'ready' ? Math.min(wave.waiting, worker.slots - left.length) : 0;
  worker.running.push(...Array.from({ length: takes }, () => tick + RUN_TICKS));
  wave.waiting -= takes;
}

function act(wave: Wave, action: PlanAction, tick: number): void {
  if (action.kind !== 'launch') {
    const worker = wave.workers.find((candidate) => candidate.machine?.id === action.machineId)!;
    worker.state = action.kind === 'drain' ? 'draining' : 'ready';
    wave.drainTicks.push(tick);
    return;
  }
  const { instanceType, priceUsdPerHour } = action.offering;
  const { name, resources } = instanceType;
  for (let index = 0; index < action.count; index += 1) {
    const id = 100 + wave.workers.length;
    const made = machine(id, { instanceType: name, resources, priceUsdPerHour });
    const slots = resources.cpuMilli / TASK.cpuMilli;
    wave.workers.push({ id, slots, bornTick: tick, machine: made, running: [], idleSinceTick: tick, state: 'booting' });
    wave.launchTicks.push(tick);
  }
}

it('serves a wave: local first, no machine bought twice, every machine gone in the end, none bought after one was let go', () => {
  const slots = LOCAL_CORES / 2;
  const local: Worker = { id: 1, slots, bornTick: null, machine: null, running: [], idleSinceTick: 0, state: 'ready' };
  const wave: Wave = { workers: [local], waiting: TASKS, done: 0, launchTicks: [], drainTicks: [] };
  for (let tick = 0; tick < 200; tick += 1) {
    for (const worker of wave.workers) live(wave, worker, tick);
    const offered = workload({
      policy: policy({ limits: { max: 20 } }),
      pending: wave.waiting > 0 ? [pending(TASK, wave.waiting)] : [],
    });
    const outcome = planAll({ nowMs: NOW + tick * TICK_MS, workloads: [offered], ...views(wave.workers, tick) });
    for (const action of outcome.workloads.flatMap(({ actions }) => actions)) act(wave, action, tick);
  }
  const cloud = wave.workers.slice(1);
  expect([wave.done, wave.waiting]).toEqual([TASKS, 0]);
  expect(cloud.reduce((sum, worker) => sum + worker.slots, 0)).toBe(TASKS - slots);
  expect(cloud.length).toBeLessThanOrEqual(20);
  expect(Math.max(...wave.launchTicks)).toBe(0);
  expect(Math.min(...wave.drainTicks)).toBeGreaterThan(BOOT_TICKS);
  expect(cloud.filter(({ state }) => state !== 'gone')).toEqual([]);
});
