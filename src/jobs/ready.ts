import type { MachineIn } from '../model/machine.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { startTerminating } from './terminate.ts';

/**
 * An agent silent for this long is given up. Far beyond any task lease: the agent has stopped its tasks itself by then
 * (it fences itself at two thirds of the lease) and they run elsewhere, so nothing running is killed.
 */
const AGENT_LOST_AFTER_MS = 15 * MINUTE_MS;
const LOOK_AGAIN_MS = MINUTE_MS;

/** A ready machine only needs watching: the planner decides when it goes. */
export async function stepReady(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'ready'>,
): Promise<StepOutcome> {
  return isAgentLost(record) ? await startTerminating(ports, machine, 'agent-lost') : again(LOOK_AGAIN_MS);
}

/** True when the machine's agent has been silent for so long that no task of it can be running any more. */
export function isAgentLost(record: MachineRecord): boolean {
  const lastWordMs = Math.max(record.agent?.lastSeenAtMs ?? 0, record.machine.stateSinceMs);
  const holdsWork = (record.agent?.heldTasks ?? 0) > 0;
  return !holdsWork && record.nowMs - lastWordMs >= AGENT_LOST_AFTER_MS;
}
