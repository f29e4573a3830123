import type { MachineIn } from '../model/machine.ts';
import { AGENT_LOST_AFTER_MS } from '../model/state-waits.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { startTerminating } from './terminate.ts';

const LOOK_AGAIN_MS = MINUTE_MS;

/** A ready machine only needs watching: the planner decides when it goes. */
export async function stepReady(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'ready'>,
): Promise<StepOutcome> {
  return isAgentLost(record) ? await startTerminating(ports, machine, 'agent-lost') : again(LOOK_AGAIN_MS);
}

/** What of a machine says how long nothing was heard of it. */
type Silence = Pick<MachineRecord, 'agent' | 'nowMs'> & { readonly machine: { readonly stateSinceMs: number } };

/** True when the machine's agent has been silent for so long that no task of it can be running any more. */
export function isAgentLost({ agent, machine, nowMs }: Silence): boolean {
  const lastWordMs = Math.max(agent?.lastSeenAtMs ?? 0, machine.stateSinceMs);
  const holdsWork = (agent?.heldTasks ?? 0) > 0;
  return !holdsWork && nowMs - lastWordMs >= AGENT_LOST_AFTER_MS;
}
