import type { AgentExplanation } from '../../ports/explanations.ts';
import { terminalSafeLines } from '../output/terminal-text.ts';
import type { CommandSpec } from '../types.ts';
import { agentSentences } from './agent-sentences.ts';

export const explainAgent: CommandSpec = {
  path: 'explain agent',
  summary:
    'Say whether an agent counts, for which workloads, what it holds, when it counts as silent and as gone, and what was ordered of it',
  arguments: [{ name: 'AGENT', summary: 'id of the agent, ag-..., or its name', names: 'agents' }],
  examples: [{ command: 'spillway explain agent rack-1', summary: 'by name' }],
  output: 'object',
  exitCodes: [3],
  seeAlso: ['agent list', 'explain machine'],
  async run({ args, output, client }) {
    const path = `/v1/agents/${encodeURIComponent(args[0] ?? '')}/explanation`;
    const agent = await (await client()).get<AgentExplanation>('AgentExplanation', path);
    await output.object('AgentExplanation', agent, () => {
      output.line(terminalSafeLines(agentSentences(agent).join('\n')));
    });
    return 0;
  },
};
