/** The thread of `plan-prover.ts`: solves the models it is given, one after the other, and writes down a bound for each. */
import { workerData } from 'node:worker_threads';
import type { ProofModel } from '../planner/proof.ts';
import { boundBelow, loadSolver } from './proof-solver.ts';

export interface ProverSetup {
  readonly models: readonly ProofModel[];
  /** For each of them. */
  readonly solveMs: number;
  /** A place for each model's bound, not a number until it is proved; read when the thread has ended. */
  readonly bounds: Float64Array<SharedArrayBuffer>;
}

const { models, solveMs, bounds } = workerData as ProverSetup;
const solver = await loadSolver();
for (const [index, model] of models.entries()) bounds[index] = boundBelow(solver, model, solveMs);
