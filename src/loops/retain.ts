import type { RetentionStore } from '../ports/retention.ts';

/** Rows of a kind per statement: small enough that no lock is held long. */
const BATCH_MAX = 5000;
/** Batches per turn; a backlog goes in later turns. */
const BATCHES_MAX = 20;

/** Forgets old samples, logs and plans in small batches. */
export async function retainTick(store: RetentionStore, ageMs: number): Promise<number> {
  let forgotten = 0;
  for (let batch = 0; batch < BATCHES_MAX; batch += 1) {
    const gone = await store.forget(ageMs, BATCH_MAX);
    forgotten += gone;
    if (gone === 0) break;
  }
  return forgotten;
}
