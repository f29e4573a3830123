import type { MachineRecord } from '../ports/machines.ts';
import { DONE, type StepOutcome, type StepPorts } from './ports.ts';
import { holdOf, reactionToEnd } from './reactions.ts';

/**
 * Complete listings that must miss an instance before it counts as gone. One is never enough (late listings); the store
 * counts only rows older than five minutes.
 */
const MISSING_LISTINGS_MIN = 3;

/** True when EC2 itself says that the instance ended, or has not known it for several complete listings. */
export function isInstanceGone(record: MachineRecord): boolean {
  const { machine, observed } = record;
  return 'instanceId' in machine && machine.state !== 'terminated' && isSeenGone(observed);
}

/** What of EC2's word proves that an instance is no more. */
export function isSeenGone(observed: MachineRecord['observed']): boolean {
  return observed.state === 'terminated' || observed.missingListings >= MISSING_LISTINGS_MIN;
}

/** The end of every machine that had an instance: EC2 says it is gone. Its tasks run elsewhere from the same moment. */
export async function endWithInstanceGone(ports: StepPorts, record: MachineRecord): Promise<StepOutcome> {
  const { machine, observed } = record;
  await holdAfterFalseStart(ports, record);
  const reason = 'endReason' in machine ? machine.endReason : 'instance-gone';
  const moved = await ports.machines.transition(machine, {
    to: 'terminated',
    actor: 'machine-step',
    reason,
    endReason: reason,
    detail: { observed: observed.state, endCode: observed.endCode },
  });
  if (moved) {
    ports.log.info({ machineId: machine.id, reason }, 'machine terminated');
    ports.wakePlanner();
  }
  return DONE;
}

/** EC2 gave an instance and took it back before it could be reached: a refusal that came late, with the same reaction. */
async function holdAfterFalseStart(ports: StepPorts, { machine, observed, launch }: MachineRecord): Promise<void> {
  if (machine.state !== 'booting' || observed.endCode === null) return;
  const reaction = reactionToEnd(observed.endCode);
  if (reaction === null) return;
  const { instanceType, zone, market, workload } = machine;
  const error = { code: observed.endCode, detail: `instance ${machine.instanceId} never ran` };
  const hold = holdOf(reaction, { ...launch.body, instanceType, zone, market, workload }, error);
  if (hold !== null) await ports.launches.hold(launch.id, hold);
  if (reaction.remedy === null) return;
  const facts = { machineId: machine.id, workload, code: observed.endCode, remedy: reaction.remedy };
  ports.log.error(facts, 'an instance ended before it ran, for a reason that another offering rarely heals');
}
