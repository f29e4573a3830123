import type { AgentId } from '../model/ids.ts';
import type { EpochMs } from '../model/time.ts';

/** What becomes of machines that EC2 takes back. */
export interface Interruptions {
  /**
   * The machine of this agent ends at that time: it drains from now on, until then at the latest. True the first time; false
   * when it is known, on its way out, not ready yet, or no machine.
   */
  noteInterruption(agentId: AgentId, atMs: EpochMs): Promise<boolean>;
}
