import { Worker } from 'node:worker_threads';
import type { Clock } from '../ports/clock.ts';
import { waitMs } from '../model/waits.ts';
import {
  makeProofModel,
  proveExcess,
  readProofQuestions,
  type ProofProblem,
  type ProofVerdict,
} from '../planner/proof.ts';
import type { PlannerInput } from '../planner/types.ts';
import type { ProverSetup } from './prover-thread.ts';

/** Beside this file, in a checkout and in a built package. */
const THREAD = new URL(import.meta.url.endsWith('.ts') ? './prover-thread.ts' : './prover-thread.js', import.meta.url);
/** The rest is for loading the solver and reading the models. */
const SOLVE_SHARE = 0.5;

/**
 * Proves for each workload that launches something how far its machines are from the cheapest possible. The solver runs in a
 * thread of its own and is ended at `planner.proof`, whatever it does; one proof at a time, others are told that it is busy.
 */
export class PlanProver {
  readonly #clock: Pick<Clock, 'sleep'>;
  readonly #proofMs: number;
  #isBusy = false;

  /** @param proofMs for all workloads of one plan; default: `planner.proof` of the list of waits */
  constructor(clock: Pick<Clock, 'sleep'>, proofMs: number = waitMs('planner.proof')) {
    this.#clock = clock;
    this.#proofMs = proofMs;
  }

  /** @param workload null = all of the plan */
  async prove(input: PlannerInput, workload: string | null): Promise<readonly ProofVerdict[]> {
    const questions = readProofQuestions(input).filter((each) => workload === null || each.workload === workload);
    const problems = questions.filter((question) => 'kinds' in question);
    const bounds = this.#isBusy ? null : await this.#solve(problems);
    return questions.map((question) => {
      if (!('kinds' in question)) return question;
      if (bounds === null) return { workload: question.workload, unproven: 'the solver is busy with another plan' };
      const bound = bounds[problems.indexOf(question)] ?? Number.NaN;
      if (Number.isNaN(bound)) {
        return { workload: question.workload, unproven: 'the solver proved nothing in its time' };
      }
      return proveExcess(question, bound);
    });
  }

  async #solve(problems: readonly ProofProblem[]): Promise<Float64Array> {
    const bounds = new Float64Array(new SharedArrayBuffer(problems.length * Float64Array.BYTES_PER_ELEMENT));
    if (problems.length === 0) return bounds;
    bounds.fill(Number.NaN);
    this.#isBusy = true;
    const ended = new AbortController();
    try {
      const solveMs = (this.#proofMs * SOLVE_SHARE) / problems.length;
      const setup: ProverSetup = { models: problems.map(makeProofModel), solveMs, bounds };
      const thread = new Worker(THREAD, { workerData: setup, execArgv: [] });
      thread.unref();
      // Whatever becomes of it: what it proved is written down, and the rest is not proved.
      thread.once('error', () => ended.abort());
      thread.once('exit', () => ended.abort());
      await this.#clock.sleep(this.#proofMs, ended.signal).catch((error: unknown) => {
        if (!ended.signal.aborted) throw error;
      });
      await thread.terminate();
    } finally {
      this.#isBusy = false;
    }
    return bounds;
  }
}
