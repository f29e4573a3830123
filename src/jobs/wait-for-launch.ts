import type { MachineIn } from '../model/machine.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, DONE, type StepOutcome, type StepPorts } from './ports.ts';
import { SECOND_MS } from '../model/time.ts';

const LOOK_AGAIN_MS = 30 * SECOND_MS;

/** The launch drives these machines; this step only ends those that a closed launch left behind. */
export async function stepWaitingForLaunch(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'requested' | 'launching'>,
): Promise<StepOutcome> {
  if (record.launch.state === 'open') return again(LOOK_AGAIN_MS);
  const reason = record.launch.state === 'expired' ? 'launch-expired' : 'launch-refused';
  await ports.machines.transition(machine, { to: 'terminated', actor: 'machine-step', reason, endReason: reason });
  return DONE;
}
