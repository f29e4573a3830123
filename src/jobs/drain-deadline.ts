import { STATE_DEADLINE_MS, type MachineIn } from '../model/machine.ts';
import { EXTENSIONS_DEFAULT, type DrainPolicy, type WorkloadPolicy } from '../model/policy.ts';
import { HOUR_MS } from '../model/time.ts';
import type { Log } from '../ports/log.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { startTerminating } from './terminate.ts';

type DeadlinePolicy = Pick<DrainPolicy, 'deadlineMs' | 'onDeadline' | 'extensions'>;

/** Of a drain whose policy nobody knows any more. */
const UNKNOWN_DRAIN: DeadlinePolicy = { deadlineMs: STATE_DEADLINE_MS.draining ?? HOUR_MS, onDeadline: 'wait' };

/**
 * The work had the time that the policy gives it. `wait`, the default, gives it as much again and says so: running work is worth
 * more than an empty machine. `extend` expects that for a while, and is loud afterwards. Each extension is an event to be seen.
 */
export async function passDrainDeadline(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'draining'>,
  policy: WorkloadPolicy | null,
): Promise<StepOutcome> {
  const { deadlineMs, onDeadline, extensions } = policy?.drain ?? UNKNOWN_DRAIN;
  if (onDeadline === 'terminate') return await startTerminating(ports, machine, 'drain-deadline');
  const extension = record.drainExtensions + 1;
  const expected = onDeadline === 'extend' ? (extensions ?? EXTENSIONS_DEFAULT) : null;
  const isOverdue = expected !== null && extension > expected;
  const detail = { extension, ...(expected === null ? {} : { expected }), ...whatBlocks(record) };
  const reason = isOverdue ? 'drain-overdue' : 'drain-deadline-extended';
  // EC2 waits for nothing: what it takes back ends then, whatever the policy would wait for.
  const leftMs = (record.interruptedAtMs ?? Infinity) - record.nowMs;
  await ports.machines.extendDeadline(machine, { ms: Math.min(deadlineMs, leftMs), reason, detail });
  tell(ports.log, expected === null ? 'waits' : reason, {
    machineId: machine.id,
    workload: machine.workload,
    ...detail,
  });
  return again(ports.timings.drainPollMs);
}

type Said = 'waits' | 'drain-overdue' | 'drain-deadline-extended';

function tell(log: Log, what: Said, facts: Readonly<Record<string, unknown>>): void {
  if (what === 'waits') log.warn(facts, 'drain passed its deadline and goes on waiting');
  else if (what === 'drain-deadline-extended') log.info(facts, 'drain got one of its extensions');
  else log.error(facts, 'drain is overdue and goes on waiting; see `spillway explain machine`');
}

function whatBlocks({ agent }: MachineRecord): Readonly<Record<string, unknown>> {
  if (agent === null) return { agent: 'unknown' };
  const tasks = Math.max(agent.runningTasks, agent.heldTasks);
  return { tasks, cordonAcknowledged: agent.cordonAckedAtMs !== null };
}
