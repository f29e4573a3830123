import type { Testimony } from '../../src/model/amnesia.ts';
import type { Witness } from '../../src/ports/witness.ts';

/** A witness file without a file. */
export class MemoryWitness implements Witness {
  said: Testimony | null = null;

  async read(): Promise<Testimony | null> {
    return this.said;
  }

  async write(testimony: Testimony): Promise<void> {
    this.said = testimony;
  }
}
