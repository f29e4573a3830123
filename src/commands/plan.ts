import { describeProofs, type PlanPreview } from '../planner/proof.ts';
import { describePlan } from '../planner/describe.ts';
import { EXIT_CHANGES } from './exit-codes.ts';
import { terminalSafeLines } from './output/terminal-text.ts';
import type { CommandSpec } from './types.ts';

export const plan: CommandSpec = {
  path: 'plan',
  summary: 'Show what the next planning pass would do, and why, without doing it',
  description:
    'Below the plan stands how far its launches are from the cheapest machines that could hold the same work, proved by a solver within four seconds, or why that is not proved.',
  options: [
    { name: 'workload', short: 'w', value: 'WORKLOAD', names: 'workloads', summary: 'only this workload' },
    { name: 'detailed-exitcode', summary: 'exit 10 when something would be launched or drained' },
  ],
  examples: [
    { command: 'spillway plan', summary: 'all workloads' },
    { command: 'spillway plan --workload transcode -o json', summary: 'one, with every figure' },
  ],
  output: 'object',
  exitCodes: [3, EXIT_CHANGES],
  seeAlso: ['why-not', 'explain plan', 'plan replay', 'status'],
  async run({ options, output, client }) {
    const outcome = await (await client()).get<PlanPreview>('Plan', '/v1/plan', { workload: options.text('workload') });
    await output.object('Plan', outcome, () => {
      output.line(terminalSafeLines(describePlan(outcome)));
      describeProofs(outcome.proofs).forEach((line) => output.line(terminalSafeLines(line)));
    });
    const changes = outcome.workloads.some((workload) => workload.actions.length > 0);
    return options.isSet('detailed-exitcode') && changes ? EXIT_CHANGES : 0;
  },
};
