import { parseDuration } from '../../model/units.ts';
import { parseUnit, usage } from '../options.ts';
import type { CommandSpec } from '../types.ts';
import { MACHINES_ARGUMENT, orderMachines, REASON_OPTION } from './order.ts';

export const machineProtect: CommandSpec = {
  path: 'machine protect',
  summary: 'Keep machines: no decision of Spillway lets them go',
  description:
    'Scale-in, consolidation, a removed policy and `machine drain` leave a protected machine alone; a drain that has touched no work is called off. What EC2 takes back, and what is dead, goes all the same. An instance with the tag spillway:protected=true is protected, too.',
  arguments: MACHINES_ARGUMENT,
  options: [
    REASON_OPTION,
    { name: 'for', value: 'DURATION', summary: 'for how long, such as 2h; default: until it is taken back' },
  ],
  examples: [
    {
      command: "spillway machine protect mc-7f3ak2p9qx0z --for 2h --reason 'debugging'",
      summary: 'until it is over by itself',
    },
  ],
  output: 'list',
  exitCodes: [3, 5],
  seeAlso: ['machine unprotect', 'machine show'],
  async run(context) {
    const text = context.options.text('for');
    const forMs = text === null ? null : parseUnit('for', text, parseDuration);
    if (forMs !== null && forMs < 1) throw usage('--for must be longer than nothing', 'write --for 2h');
    await orderMachines(context, 'protect', { forMs });
    return 0;
  },
};

export const machineUnprotect: CommandSpec = {
  path: 'machine unprotect',
  summary: 'Let protected machines go again when nothing needs them',
  arguments: MACHINES_ARGUMENT,
  options: [REASON_OPTION],
  examples: [{ command: 'spillway machine unprotect mc-7f3ak2p9qx0z', summary: 'before its time is over' }],
  output: 'list',
  exitCodes: [3],
  seeAlso: ['machine protect'],
  async run(context) {
    await orderMachines(context, 'unprotect');
    return 0;
  },
};
