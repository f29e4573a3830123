import type { CommandSpec } from '../types.ts';
import { AGENT_REASON_OPTION, AGENTS_ARGUMENT, orderAgents } from './orders.ts';

export const agentRemove: CommandSpec = {
  path: 'agent remove',
  summary: 'Forget on-prem agents: their tokens are good for nothing from now on',
  description:
    'An agent that is removed ends with exit code 3 at its next report. To come back it needs a new enrolment token. One that holds tasks is not removed.',
  arguments: [AGENTS_ARGUMENT],
  options: [
    AGENT_REASON_OPTION,
    { name: 'force', summary: 'also one that holds tasks; they run elsewhere when their lease is over' },
  ],
  examples: [
    { command: 'spillway agent remove rack-1', summary: 'after `spillway agent drain --wait rack-1`, without loss' },
  ],
  output: 'list',
  exitCodes: [3, 5],
  seeAlso: ['agent drain', 'agent enrol'],
  async run(context) {
    const force = context.options.isSet('force');
    await orderAgents(context, { order: 'remove', body: { force }, done: 'removed' });
    return 0;
  },
};
