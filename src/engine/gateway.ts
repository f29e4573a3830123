import type { AgentId, MachineId } from '../model/ids.ts';
import { AppError, describeError } from '../model/errors.ts';
import { orderLeaseMsMin } from '../model/task.ts';
import { SPOT_NOTICE_MS } from '../model/state-waits.ts';
import { SECOND_MS } from '../model/time.ts';
import type { AgentGateway, AgentOrders, AgentReport, HeartbeatOutcome } from '../ports/agent-gateway.ts';
import type { HeldTask, ReportResult } from '../ports/tasks.ts';
import type { TaskLease } from '../ports/queue.ts';
import type { EnginePorts } from './ports.ts';
import { taskQueueName } from './queue-name.ts';
import { ReportBatcher } from './report-batcher.ts';
import { renderTaskScript } from './script.ts';

/** The agents' side of the engine: what a report changes in rows and queues, and what the agent is told in return. */
export function createAgentGateway(ports: EnginePorts): AgentGateway {
  const leaseMs = ports.timing.leaseS * SECOND_MS;
  const batcher = new ReportBatcher({ agents: ports.agents, clock: ports.clock, leaseMs });

  async function report(agentId: AgentId, said: AgentReport): Promise<HeartbeatOutcome> {
    const mark = ports.bell.now();
    const result = await batcher.write(agentId, said);
    if (result.kind === 'unknown-agent') await refuseToGuess(ports);
    if (result.kind !== 'accepted') return { kind: result.kind };
    if (said.interruption) await noteInterruption(ports, agentId, said.interruption);
    await settleQueues(ports, result, leaseMs);
    if (result.waitingMachineId !== null) await ringFor(ports, result.waitingMachineId);
    return { kind: 'accepted', orders: ordersOf(ports, said, result), mark };
  }

  return {
    async register({ enrolmentTokenHash, agentTokenHash, registration }) {
      const outcome = await ports.agents.register(enrolmentTokenHash, {
        id: ports.ids.next('ag'),
        tokenHash: agentTokenHash,
        ...registration,
      });
      if (outcome.kind === 'refused') {
        ports.log.warn({ name: registration.name, why: outcome.why }, 'an agent was refused');
        return { kind: 'refused' };
      }
      ports.log.info({ agentId: outcome.agentId, name: registration.name }, 'agent registered');
      return { kind: 'registered', agentId: outcome.agentId, timing: ports.timing };
    },

    async authenticate(agentTokenHash) {
      const agentId = await ports.agents.findByToken(agentTokenHash);
      if (agentId === null) await refuseToGuess(ports);
      return agentId;
    },

    heartbeat: report,

    async ordersAfter({ agentId, report: said, mark, signal }) {
      const rung = await ports.bell.wait(agentId, mark, signal);
      // Nothing was heard: the mark stays, so that a ring between the end of the wait and now is heard by the next one.
      if (!rung) return { orders: quietOrders(ports, said), mark };
      const markNow = ports.bell.now();
      const held = await ports.tasks.listOrders(agentId);
      if (held === null) return { orders: quietOrders(ports, said), mark: markNow };
      return { orders: ordersOf(ports, said, { ...held, ended: [], foreign: [] }), mark: markNow };
    },

    appendLog: async (agentId, part) => await ports.tasks.appendLog(agentId, part),
  };
}

/**
 * Told that it is unknown, an agent ends its tasks at once. A database that has lost commits may only have forgotten it: then it
 * gets no answer, keeps its tasks for as long as its lease allows, and is joined anew.
 */
async function refuseToGuess(ports: EnginePorts): Promise<void> {
  if (!(await ports.agents.mayBeForgotten())) return;
  throw new AppError('DATABASE_AMNESIA', 'the database has lost commits and may have forgotten this agent', {
    remedy: 'nothing: its rows are rebuilt from EC2, and on-prem agents that stay unknown are enrolled anew',
  });
}

/** The agent repeats a notice with every report: what fails now is done then. */
async function noteInterruption(
  ports: EnginePorts,
  agentId: AgentId,
  { atMs }: NonNullable<AgentReport['interruption']>,
): Promise<void> {
  // A time beyond the notice is a mistake or a lie.
  const latestMs = ports.clock.nowMs() + SPOT_NOTICE_MS;
  const endMs = Math.min(atMs ?? latestMs, latestMs);
  const facts = { agentId, endsAt: new Date(endMs).toISOString() };
  try {
    if (!(await ports.interruptions.noteInterruption(agentId, endMs))) return;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    ports.log.warn({ ...facts, error: describeError(error) }, 'a notice of EC2 could not be noted; it comes again');
    return;
  }
  ports.log.warn(facts, 'EC2 takes a spot machine back; it drains');
  ports.bell.ring([agentId]);
  ports.wakePlanner();
}

/** Nothing new: the timing, and the cordon the agent obeys already. */
function quietOrders(ports: EnginePorts, said: AgentReport): AgentOrders {
  return { timing: ports.timing, cordon: said.cordon, run: [], stop: [], ack: [], leave: false };
}

function ordersOf(
  ports: EnginePorts,
  said: AgentReport,
  result: Pick<ReportResult, 'cordoned' | 'cordonGeneration' | 'leave' | 'held' | 'ended' | 'foreign'>,
): AgentOrders {
  const leaseMsMin = orderLeaseMsMin(ports.timing.leaseS * SECOND_MS);
  const known = new Set(said.tasks.map(({ taskId, attempt }) => `${taskId}/${attempt}`));
  return {
    timing: ports.timing,
    cordon: { cordoned: result.cordoned, generation: result.cordonGeneration },
    run: result.held
      .filter((task) => !known.has(`${task.id}/${task.attempt}`) && task.leaseLeftMs >= leaseMsMin)
      .map((task) => ({
        taskId: task.id,
        attempt: task.attempt,
        shape: task.shape,
        script: renderTaskScript(task.command),
        progressBase64: task.progressBase64,
      })),
    stop: result.foreign,
    ack: result.ended.map(({ taskId, attempt }) => ({ taskId, attempt })),
    leave: result.leave,
  };
}

/**
 * The queue follows the rows: ended tasks' jobs are completed, lost ones go back, held ones keep their lock. A queue that
 * is away only costs a later repetition, so its failures are told and not passed on to the agent.
 */
async function settleQueues(ports: EnginePorts, result: ReportResult, leaseMs: number): Promise<void> {
  const ended = result.ended.flatMap(({ lease }) => (lease === null ? [] : [lease]));
  try {
    // Only what runs: a task that was not started lets its lease run out (see the store).
    const running = result.held.filter(({ state }) => state === 'running');
    await ports.queues.renew(running.map(leaseOf), leaseMs);
    for (const task of ended) await ports.queues.complete(leaseOf(task));
    for (const task of result.lost) await ports.queues.release(leaseOf(task));
  } catch (error) {
    ports.log.warn({ error: String(error), agentId: result.agentId }, 'the queue could not be told; the rows hold');
  }
  if (ended.length + result.lost.length === 0) return;
  ports.wakeAssigner();
  ports.wakePlanner();
}

/** A queue that is away must not keep a recorded report from its answer: an agent without answers ends its tasks. */
async function ringFor(ports: EnginePorts, id: MachineId): Promise<void> {
  try {
    // In a burst hundreds of rows look again and again; the one whose agent has spoken must not wait behind them.
    await ports.wake.ring([{ kind: 'machine', id }], 'first');
  } catch (error) {
    ports.log.warn({ error: String(error), machineId: id }, 'the queue could not be rung; the row rings again');
  }
}

function leaseOf(task: HeldTask): TaskLease {
  return { queue: taskQueueName(task), taskId: task.id, token: task.leaseToken };
}
