import { submitTasks } from '../engine/intake.ts';
import type { EnginePorts } from '../engine/ports.ts';
import { readPlannerInput } from '../loops/plan-input.ts';
import type { LoopPorts } from '../loops/ports.ts';
import { describeAmnesia } from '../model/amnesia.ts';
import { AppError } from '../model/errors.ts';
import { holdKeyText } from '../model/holds.ts';
import { receiptOf } from './agent-receipt.ts';
import { planAll } from '../planner/plan.ts';
import type { PlannerInput, PlanOutcome } from '../planner/types.ts';
import type { AgentReceipt, HealthCheck, OperatorActions } from '../ports/operator.ts';
import type { AgentOrdering } from '../ports/agent-orders.ts';
import type { AgentStore } from '../ports/tasks.ts';
import type { MachineOrders, Orderer } from '../ports/machine-orders.ts';
import type { Reports } from '../ports/reports.ts';
import { orderMachine } from './machine-orders.ts';
import type { PlanProver } from './plan-prover.ts';
import type { Loops } from './loops.ts';

interface ActionParts {
  readonly loops: LoopPorts;
  readonly engine: EnginePorts;
  readonly agents: AgentStore;
  readonly agentOrdering: AgentOrdering;
  /** Null until the loops were started. */
  readonly running: () => Loops | null;
  readonly pingQueue: () => Promise<void>;
  readonly isLeader: () => boolean;
  readonly prover: Pick<PlanProver, 'prove'>;
  readonly orders: MachineOrders;
  readonly reports: Pick<Reports, 'showMachine'>;
}

/** What operators may ask the running service to do. */
export function createOperatorActions(parts: ActionParts): OperatorActions {
  const { loops, engine, agents, agentOrdering } = parts;
  return {
    submitTasks: async (request) => await submitTasks(engine, request),

    async previewPlan(workload) {
      return planFor(workload, await readInputFor(loops, workload));
    },

    async previewProvedPlan(workload) {
      const input = await readInputFor(loops, workload);
      return { ...planFor(workload, input), proofs: await parts.prover.prove(input, workload) };
    },

    async createEnrolment({ labels, ttlMs, ...order }) {
      const token = loops.ids.hex(32);
      const { expiresAtMs } = await agents.createEnrolment(loops.credentials.sha256(token), labels, ttlMs, order);
      return { token, expiresAtMs };
    },

    async cordonAgent(idOrName, order, orderer) {
      const receipt = receiptOf(idOrName, await agentOrdering.setCordon(idOrName, order, orderer));
      const what = order === 'uncordon' ? 'an operator lifted the cordon of an agent' : 'an operator cordoned an agent';
      noteAgentOrder(parts, receipt, orderer, what);
      return receipt;
    },

    async removeAgent(idOrName, force, orderer) {
      const receipt = receiptOf(idOrName, await agentOrdering.remove(idOrName, force, orderer));
      const what = force ? 'an operator removed an agent by force' : 'an operator removed an agent';
      noteAgentOrder(parts, receipt, orderer, what);
      return receipt;
    },
    orderMachine: async (id, order) => await orderMachine(parts, id, order),

    async health() {
      const checks = [
        await probe('database', loops, async () => await loops.ledger.databaseNowMs()),
        await probe('queue', loops, parts.pingQueue),
        await memoryCheck(loops),
        await launchesCheck(loops),
        ...Object.values(parts.running() ?? {}).map(loopCheck),
      ];
      return {
        // The loops may stumble (EC2 away) while the service still serves; without its stores it cannot.
        ready: checks.every(({ name, state }) => state === 'ok' || (name !== 'database' && name !== 'queue')),
        leader: parts.isLeader(),
        checks,
      };
    },
  };
}

/** Workloads share agents and limits: what is planned for one depends on all. */
async function readInputFor(loops: LoopPorts, workload: string | null): Promise<PlannerInput> {
  const policies = loops.policies.current().map(({ policy }) => policy);
  if (workload !== null && !policies.some(({ name }) => name === workload)) {
    throw new AppError('WORKLOAD_UNKNOWN', `no policy is in force for workload ${JSON.stringify(workload)}`, {
      remedy: `use one of: ${policies.map(({ name }) => name).join(', ') || '(none; add a policy)'}`,
    });
  }
  return (await readPlannerInput(loops, policies)).input;
}

function planFor(workload: string | null, input: PlannerInput): PlanOutcome {
  const outcome = planAll(input);
  return { ...outcome, workloads: outcome.workloads.filter((each) => workload === null || each.workload === workload) };
}

/** The agent hears of it at once, and the plan that counts on it is made anew. */
function noteAgentOrder(
  { engine }: ActionParts,
  { agentId, changed }: AgentReceipt,
  { by, reason }: Orderer,
  what: string,
): void {
  if (!changed) return;
  engine.log.info({ agentId, by, reason }, what);
  engine.bell.ring([agentId]);
  engine.wakeAssigner();
  engine.wakePlanner();
}

/** It serves and holds: neither a reason to restart it nor to send its callers elsewhere. */
async function memoryCheck({ memory, clock }: LoopPorts): Promise<HealthCheck> {
  const name = 'memory';
  try {
    const { amnesia } = await memory.look([]);
    if (amnesia === null) return { name, state: 'ok', detail: '', sinceMs: clock.nowMs() };
    return { name, state: 'failing', detail: describeAmnesia(amnesia, clock.nowMs()), sinceMs: amnesia.sinceMs };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { name, state: 'unknown', detail: error.message, sinceMs: clock.nowMs() };
  }
}

async function probe(name: string, { clock }: LoopPorts, ask: () => Promise<unknown>): Promise<HealthCheck> {
  const sinceMs = clock.nowMs();
  try {
    await ask();
    return { name, state: 'ok', detail: '', sinceMs };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { name, state: 'failing', detail: error.message, sinceMs };
  }
}

/** Shortages come and go by themselves; the rest waits for a person. The service is ready all the same. */
async function launchesCheck({ launches, clock }: LoopPorts): Promise<HealthCheck> {
  const check = { name: 'launches', sinceMs: clock.nowMs() } as const;
  try {
    const held = (await launches.listHolds()).filter(({ errorClass }) => errorClass !== 'capacity');
    if (held.length === 0) return { ...check, state: 'ok', detail: '' };
    const detail = held.map((hold) => `${holdKeyText(hold)} is held after ${hold.errorCode}`).join('; ');
    return { ...check, state: 'failing', detail, sinceMs: Math.min(...held.map(({ sinceMs }) => sinceMs)) };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { ...check, state: 'unknown', detail: error.message };
  }
}

function loopCheck(loop: Loops[keyof Loops]): HealthCheck {
  const health = loop.health();
  if (health === null) return { name: loop.name, state: 'unknown', detail: 'no turn has ended yet', sinceMs: 0 };
  return { name: loop.name, state: health.ok ? 'ok' : 'failing', detail: health.detail, sinceMs: health.sinceMs };
}
