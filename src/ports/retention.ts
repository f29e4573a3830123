/** What may be forgotten after a while. Ledger, machine events and whatever live machines need stay. */
export interface RetentionStore {
  /** Deletes at most `limit` rows of each kind that are older than `ageMs`; returns how many went. */
  forget(ageMs: number, limit: number): Promise<number>;
}
