/** HiGHS, a solver for mixed-integer programs, as WebAssembly. It blocks the thread that it runs on. */
import { createRequire } from 'node:module';
import type { Highs } from 'highs';
import type { ProofModel } from '../planner/proof.ts';

export function loadSolver(): Promise<Highs> {
  // The package's types speak of its CommonJS face, where the loader is the module itself.
  const load = createRequire(import.meta.url)('highs') as () => Promise<Highs>;
  return load();
}

/** The least that any solution costs, as far as it was proved when time was up; not a number when nothing was. */
export function boundBelow(solver: Highs, { costs, uppers, integers, rows }: ProofModel, solveMs: number): number {
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
    colUpper: uppers.map((upper) => (upper === Infinity ? infinity : upper)),
    rowLower: rows.map(({ equals }) => equals ?? -infinity),
    rowUpper: rows.map(({ equals }) => equals ?? 0),
    matrix: { format: 'csr' as const, numRows: rows.length, numCols: costs.length, starts, indices, values },
    integrality: integers.map((whole) => (whole ? constants.variableType.integer : constants.variableType.continuous)),
  };
  return solver.withModel(source, (model) => {
    model.options.set('output_flag', false);
    model.options.set('time_limit', solveMs / 1000);
    model.run();
    const bound = model.info.get('mip_dual_bound');
    return typeof bound === 'number' && Number.isFinite(bound) ? Math.max(0, bound) : Number.NaN;
  });
}
