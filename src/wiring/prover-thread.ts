/** The thread of `plan-prover.ts`: solves the models it is given, one after the other, and writes down a bound for each. */
import { workerData } from 'node:worker_threads';
import { createRequire } from 'node:module';
import type { Highs } from 'highs';
import type { ProofModel } from '../planner/proof.ts';

export interface ProverSetup {
  readonly models: readonly ProofModel[];
  /** For each of them. */
  readonly solveMs: number;
  /** A place for each model's bound, not a number until it is proved; read when the thread has ended. */
  readonly bounds: Float64Array<SharedArrayBuffer>;
}

const { models, solveMs, bounds } = workerData as ProverSetup;
// The package's types speak of its CommonJS face, where the loader is the module itself.
const load = createRequire(import.meta.url)('highs') as () => Promise<Highs>;
const highs = await load();
for (const [index, model] of models.entries()) bounds[index] = solve(highs, model, solveMs);

/** The least that any solution costs, as far as it was proved when time was up; not a number when nothing was. */
function solve(solver: Highs, { costs, integers, rows }: ProofModel, timeMs: number): number {
  const { constants, infinity } = solver;
  const starts: number[] = [];
  const indices: number[] = [];
  const values: number[] = [];
  for (const row of rows) {
    starts.push(indices.length);
    indices.push(...row.columns);
    values.push(...row.values);
  }
  starts.push(indices.length);
  const source = {
    numCols: costs.length,
    numRows: rows.length,
    colCost: costs,
    colLower: costs.map(() => 0),
    colUpper: costs.map(() => infinity),
    rowLower: rows.map(({ equals }) => equals ?? -infinity),
    rowUpper: rows.map(({ equals }) => equals ?? 0),
    matrix: { format: 'csr' as const, numRows: rows.length, numCols: costs.length, starts, indices, values },
    integrality: integers.map((whole) => (whole ? constants.variableType.integer : constants.variableType.continuous)),
  };
  return solver.withModel(source, (model) => {
    model.options.set('output_flag', false);
    model.options.set('time_limit', timeMs / 1000);
    model.run();
    const bound = model.info.get('mip_dual_bound');
    return typeof bound === 'number' && Number.isFinite(bound) && bound > 0 ? bound : Number.NaN;
  });
}
