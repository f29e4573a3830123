import type { Testimony } from '../model/amnesia.ts';

/**
 * What the service knows of the database's past from a place that does not share its fate. It only ever adds proof: one that is
 * missing or damaged is no witness, and never a reason to stop.
 */
export interface Witness {
  /** Null = there is none, or it cannot be understood. */
  read(): Promise<Testimony | null>;
  /** Replaces it whole and makes it last; a failure is told in the log. */
  write(testimony: Testimony): Promise<void>;
}
