import type { MachineIn } from '../model/machine.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, DONE, type StepOutcome, type StepPorts } from './ports.ts';
import { expireLaunch } from './launch.ts';
import { SECOND_MS } from '../model/time.ts';
import { isPastDeadline } from './terminate.ts';

const LOOK_AGAIN_MS = 30 * SECOND_MS;

/**
 * The launch drives these machines. This step ends those that a closed launch left behind, and closes a launch that is
 * open beyond its machines' own deadline: then the launch's step did not come to it.
 */
export async function stepWaitingForLaunch(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'requested' | 'launching'>,
): Promise<StepOutcome> {
  if (record.launch.state === 'open') {
    const expired = isPastDeadline(record) && (await expireLaunch(ports, record.launch.id));
    return expired ? DONE : again(LOOK_AGAIN_MS);
  }
  const reason = record.launch.state === 'expired' ? 'launch-expired' : 'launch-refused';
  await ports.machines.transition(machine, { to: 'terminated', actor: 'machine-step', reason, endReason: reason });
  return DONE;
}
