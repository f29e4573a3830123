import type { PlanDocument } from '../../ports/explanations.ts';
import { terminalSafeLines } from '../output/terminal-text.ts';
import type { CommandSpec } from '../types.ts';
import { planSentences } from './plan-sentences.ts';

export const explainPlan: CommandSpec = {
  path: 'explain plan',
  summary: 'Say what one stored plan saw, decided and rejected, and why',
  description:
    'Plans are stored when they differ from the one before; those that launched nothing are forgotten in time.',
  arguments: [{ name: 'PLAN', summary: 'id of the plan, pl-..., or latest' }],
  examples: [
    { command: 'spillway explain plan latest', summary: 'the newest decision' },
    { command: 'spillway explain plan pl-7f3ak2p9qx0z -o json', summary: 'one, with every figure' },
  ],
  output: 'object',
  exitCodes: [3],
  seeAlso: ['plan', 'plan replay', 'why-not'],
  async run({ args, output, client, nowMs }) {
    const path = `/v1/plans/${encodeURIComponent(args[0] ?? '')}`;
    const plan = await (await client()).get<PlanDocument>('StoredPlan', path);
    await output.object('StoredPlan', plan, () => {
      output.line(terminalSafeLines(planSentences(plan, nowMs()).join('\n')));
    });
    return 0;
  },
};
