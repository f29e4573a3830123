import type { AgentId } from '../model/ids.ts';
import type { Orderer } from './machine-orders.ts';

/** `drain` is a cordon whose giver waits until the work is gone. */
export type CordonOrder = 'cordon' | 'drain' | 'uncordon';

/** What the history of an on-prem agent tells of. */
export type AgentEventKind = CordonOrder | 'register' | 'install' | 'remove';

/** Why an order is not carried out. */
export type AgentOrderRefusal =
  /** Its machine decides: drain that one. */
  | 'of-a-machine'
  /** Tasks run there, or are about to. */
  | 'holds-work'
  /** Several agents have this name. */
  | 'ambiguous';

/** What came of an order. `changed` false: it was so before. */
export type AgentOrderOutcome =
  | { readonly kind: 'done'; readonly agentId: AgentId; readonly changed: boolean }
  | { readonly kind: 'refused'; readonly because: AgentOrderRefusal }
  | { readonly kind: 'unknown' };

/**
 * What people order of on-prem agents, by id or name. Rows: an order outlives every restart of service and agent, and each that
 * changes something is one transaction with its event.
 */
export interface AgentOrdering {
  /** It takes no new tasks until `uncordon`. */
  setCordon(idOrName: string, order: CordonOrder, orderer: Orderer): Promise<AgentOrderOutcome>;
  /**
   * Its token is good for nothing from now on. What it still holds runs elsewhere when its lease is over, not before: until then
   * the agent may not have heard of it.
   * @param force true = although it holds work
   */
  remove(idOrName: string, force: boolean, orderer: Orderer): Promise<AgentOrderOutcome>;
}
