import type { EpochMs } from '../model/time.ts';

/** Proof of being the one decider. Every deciding transaction names the epoch it began with. */
export interface Lease {
  readonly holder: string;
  readonly epoch: number;
  /** By the database's clock, the only one that all deciders share. */
  readonly expiresAtMs: EpochMs;
}

/** The leader's lease: a row in Postgres, timed by Postgres. */
export interface Leadership {
  /**
   * Takes the lease when it is free, expired, already ours (then it is renewed and keeps its epoch), or of a process that
   * provably exists no more; null = someone else leads.
   */
  acquire(holder: string, ttlMs: number): Promise<Lease | null>;
  /** Gives the lease up at once, so that a clean stop does not cost the others a time-out. */
  release(lease: Lease): Promise<void>;
  /** At most for how long nobody has led: since the last renewal, of a lease of `ttlMs`; null = nobody ever led. */
  silenceMs(ttlMs: number): Promise<number | null>;
}
