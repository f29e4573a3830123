import { SECOND_MS } from '../model/time.ts';
import { NO_RESOURCES } from '../model/resources.ts';
import type { LocalShares, TaskKind } from '../ports/tasks.ts';
import { lineUp, matchTasks, type Match } from './match.ts';
import type { EnginePorts } from './ports.ts';
import { taskQueueName } from './queue-name.ts';

/** Tasks given out in one pass; the next pass follows at once when there is more. */
const TAKE_MAX = 500;
/** Rows put back or filled into queues in one pass. */
const BATCH_MAX = 1000;
/** Rows of a queue that are added again at every look, whether or not their jobs are missing. */
const OLDEST_MAX = 100;

/** One workload alone takes what there is; who holds what need not be asked. */
const NOBODY_SHARES: LocalShares = { capacity: NO_RESOURCES, held: new Map() };

/**
 * Gives pending tasks to agents with room: a job is taken from the queue, and the row decides by compare-and-set whether
 * its task is really there to be had. Returns true when it gave out anything.
 */
export async function assignTasks(ports: EnginePorts): Promise<boolean> {
  const groups = await ports.tasks.listPending();
  if (groups.length === 0) return false;
  const agents = await ports.tasks.listFreeAgents(ports.timing.leaseS * SECOND_MS);
  const isShared = new Set(groups.map(({ workload }) => workload)).size > 1;
  const shares = isShared ? await ports.tasks.readLocalShares() : NOBODY_SHARES;
  const policies = ports.policies();
  const matches = matchTasks(lineUp(groups, policies, ports.clock.nowMs()), agents, policies, shares);
  let given = 0;
  for (const match of matches) {
    if (given >= TAKE_MAX) break;
    const won = await giveOut(ports, match);
    given += won;
    if (won > 0) ports.bell.ring([match.agentId]);
  }
  return given > 0;
}

async function giveOut(ports: EnginePorts, match: Match): Promise<number> {
  const queue = taskQueueName(match);
  const leaseMs = ports.timing.leaseS * SECOND_MS;
  let leases = await ports.queues.take(queue, Math.min(match.count, TAKE_MAX), leaseMs);
  if (leases.length === 0) {
    // Rows wait and the queue does not know them: it was emptied, or the ring was lost. Fill it and take again.
    await refill(ports, match);
    leases = await ports.queues.take(queue, Math.min(match.count, TAKE_MAX), leaseMs);
  }
  if (leases.length === 0) return 0;
  const won = await ports.tasks.lease(match.agentId, leases, leaseMs);
  // The row is the truth: a job whose row could not be had is dropped, and where the row is pending still it is added anew.
  for (const lease of leases) if (!won.has(lease.taskId)) await ports.queues.complete(lease);
  if (won.size < leases.length) await refill(ports, match);
  return won.size;
}

async function refill(ports: EnginePorts, kind: TaskKind, limit = BATCH_MAX): Promise<void> {
  const ids = await ports.tasks.listPendingIds(kind, limit);
  await ports.queues.add(taskQueueName(kind), ids);
}

/**
 * Takes back what agents fell silent with: the rows go back to pending, the jobs back into their queues.
 * Safe at any time: an agent that is heard of renews every lease it holds.
 */
export async function recoverTasks(ports: EnginePorts): Promise<number> {
  const expired = await ports.tasks.expireLeases(BATCH_MAX);
  for (const task of expired) {
    const queue = taskQueueName(task);
    // The lock is given back by whoever knows its token; where that fails, the queue's own stalled check does it.
    const released =
      task.leaseToken === null ? false : await ports.queues.release({ queue, taskId: task.id, token: task.leaseToken });
    if (!released) await ports.queues.add(queue, [task.id]);
  }
  // A queue that lost its jobs and got new ones is never found empty: the oldest rows, which wait longest, are added again.
  for (const group of await ports.tasks.listPending()) await refill(ports, group, OLDEST_MAX);
  await ports.queues.recoverStalled();
  if (expired.length > 0) {
    ports.log.warn(
      { tasks: expired.map(({ id }) => id).slice(0, 20), count: expired.length },
      'agents fell silent; their tasks run elsewhere',
    );
    ports.wakeAssigner();
    ports.wakePlanner();
  }
  return expired.length;
}
