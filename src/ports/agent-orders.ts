import type { AgentId } from '../model/ids.ts';

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

/** What people order of on-prem agents, by id or name. Rows: an order outlives every restart of service and agent. */
export interface AgentOrdering {
  /** True = it takes no new tasks until false. */
  setCordon(idOrName: string, cordoned: boolean): Promise<AgentOrderOutcome>;
  /**
   * Its token is good for nothing from now on. What it still holds runs elsewhere when its lease is over, not before: until then
   * the agent may not have heard of it.
   * @param force true = although it holds work
   */
  remove(idOrName: string, force: boolean): Promise<AgentOrderOutcome>;
}
