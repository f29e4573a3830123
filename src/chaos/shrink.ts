import type { SeedResult } from './seed.ts';

/** Runs at most; a run of a failing seed ends at its violation, so it is short. */
const RUNS_MAX = 60;
/** Real time after which what is left is good enough. */
const SHRINK_MS_MAX = 300_000;

/**
 * The few faults that a violation needs, by halving: leaves out ever smaller parts and keeps what still fails by the same
 * rule. Choices are functions of seed, place and visit alone, so what is left out leaves the rest where it was.
 * @param attempt runs the seed with these faults only
 */
export async function shrinkFaults(
  failed: SeedResult,
  attempt: (only: ReadonlySet<string>) => Promise<SeedResult>,
): Promise<readonly string[]> {
  const rule = failed.violation?.rule;
  const budget = { runs: RUNS_MAX };
  const endMs = performance.now() + SHRINK_MS_MAX;
  const stillFails = async (faults: readonly string[]): Promise<boolean> => {
    budget.runs = performance.now() > endMs ? 0 : budget.runs - 1;
    const result = await attempt(new Set(faults));
    return result.violation?.rule === rule;
  };
  let faults: readonly string[] = failed.faults;
  if (!(await stillFails(faults))) return faults;
  let size = Math.ceil(faults.length / 2);
  while (budget.runs > 0 && faults.length > 0) {
    const rest = await leaveOut(faults, size, budget, stillFails);
    if (rest !== null) faults = rest;
    else if (size <= 1) break;
    size = Math.max(1, Math.min(rest === null ? Math.floor(size / 2) : size, Math.ceil(faults.length / 2)));
  }
  return faults;
}

/** The faults without the first part of that size that can be spared; null when each is needed. */
async function leaveOut(
  faults: readonly string[],
  size: number,
  budget: { readonly runs: number },
  stillFails: (faults: readonly string[]) => Promise<boolean>,
): Promise<readonly string[] | null> {
  for (let start = 0; start < faults.length && budget.runs > 0; start += size) {
    const rest = faults.filter((_fault, index) => index < start || index >= start + size);
    if (await stillFails(rest)) return rest;
  }
  return null;
}
