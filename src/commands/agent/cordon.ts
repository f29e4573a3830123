import type { CommandSpec } from '../types.ts';
import { AGENT_REASON_OPTION, AGENTS_ARGUMENT, orderAgents } from './orders.ts';

export const agentCordon: CommandSpec = {
  path: 'agent cordon',
  summary: 'Let on-prem agents take no new tasks until they are uncordoned',
  description: 'What runs there runs on. A cordon outlives every restart of the service and of the agent.',
  arguments: [AGENTS_ARGUMENT],
  options: [AGENT_REASON_OPTION],
  examples: [
    {
      command: "spillway agent cordon rack-1 rack-2 --reason 'new disks'",
      summary: 'before the machines are worked on',
    },
  ],
  output: 'list',
  exitCodes: [3, 5],
  seeAlso: ['agent drain', 'agent uncordon', 'agent show'],
  async run(context) {
    await orderAgents(context, { order: 'cordon', body: { cordoned: true }, done: 'cordoned' });
    return 0;
  },
};

export const agentUncordon: CommandSpec = {
  path: 'agent uncordon',
  summary: 'Let on-prem agents take tasks again',
  arguments: [AGENTS_ARGUMENT],
  options: [AGENT_REASON_OPTION],
  examples: [{ command: 'spillway agent uncordon rack-1', summary: 'it is back' }],
  output: 'list',
  exitCodes: [3, 5],
  seeAlso: ['agent cordon'],
  async run(context) {
    await orderAgents(context, { order: 'cordon', body: { cordoned: false }, done: 'uncordoned' });
    return 0;
  },
};
