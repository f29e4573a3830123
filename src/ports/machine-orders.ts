import type { AgentId, MachineId } from '../model/ids.ts';
import type { MachineState } from '../model/machine.ts';
import type { EpochMs } from '../model/time.ts';

/** Who orders something of a machine, and why; told in its history. */
export interface Orderer {
  /** As they call themselves; nobody proves it. */
  readonly by: string;
  /** Null = they did not say. */
  readonly reason: string | null;
}

/** Why an order is not carried out. */
export type OrderRefusal =
  /** Ends of machines wait until the protection is taken back. */
  | 'protected'
  /** It has begun to leave, for a reason that stands. */
  | 'leaving'
  /** A hook may have touched its work. */
  | 'work-touched'
  /** It is not ready yet, so that there is nothing to drain. */
  | 'not-ready'
  /** EC2 has given no instance yet. */
  | 'no-instance'
  /** It may have work, and the order does not say that this may die. */
  | 'may-work'
  /** The database has lost commits. */
  | 'amnesia';

/** What came of an order. `changed` false: it was so before. */
export type OrderOutcome =
  | {
      readonly kind: 'done';
      readonly changed: boolean;
      readonly state: MachineState;
      /** Its agent, which should hear of it at once. */
      readonly agentId: AgentId | null;
      /** The tag on its instance protects it, whatever the row says. */
      readonly tagProtected: boolean;
    }
  | { readonly kind: 'refused'; readonly because: OrderRefusal; readonly state: MachineState }
  | { readonly kind: 'unknown' };

/** What people, and EC2, order of single machines. Each order is one transaction with its event. */
export interface MachineOrders {
  /** Nothing lets it go any more but an end from outside; a drain that may be called off is. @param forMs null = for good */
  protect(id: MachineId, orderer: Orderer, forMs: number | null): Promise<OrderOutcome>;
  unprotect(id: MachineId, orderer: Orderer): Promise<OrderOutcome>;
  /** Cordons it and waits for its work; the planner does not take it back. */
  drain(id: MachineId, orderer: Orderer, deadlineMs: number): Promise<OrderOutcome>;
  /** Calls off a drain of an operator or of the planner that has touched no work. */
  undrain(id: MachineId, orderer: Orderer): Promise<OrderOutcome>;
  /** @param force true = although work may run on it */
  terminate(id: MachineId, orderer: Orderer, force: boolean): Promise<OrderOutcome>;
  /**
   * EC2 takes the instance back at that time: it drains from now on, until then at the latest, whatever protects it; without an
   * agent it ends at once. True the first time, and while there is something to end.
   * @param atMs null = not known; what is later than EC2's notice lasts, by the database's clock, counts as that
   */
  noteInterruption(who: MachineId | AgentId, atMs: EpochMs | null): Promise<boolean>;
}
