import { usage } from '../options.ts';
import type { CommandSpec } from '../types.ts';
import { MACHINES_ARGUMENT, orderMachines, REASON_OPTION } from './order.ts';

export const machineTerminate: CommandSpec = {
  path: 'machine terminate',
  summary: 'End machines now',
  description:
    'Without --force only machines that have no work yet, or none any more. With it tasks on them are ended, and run elsewhere from the start or their last progress. Protected machines are refused.',
  arguments: MACHINES_ARGUMENT,
  options: [
    REASON_OPTION,
    { name: 'force', summary: 'also where work may run; asks for a yes on a terminal' },
    { name: 'yes', short: 'y', summary: 'do not ask' },
  ],
  examples: [
    { command: 'spillway machine terminate mc-7f3ak2p9qx0z --force --yes', summary: 'from a script' },
    { command: 'spillway machine terminate mc-7f3ak2p9qx0z', summary: 'one that has no work yet' },
  ],
  output: 'list',
  exitCodes: [3, 5],
  seeAlso: ['machine drain', 'machine protect'],
  async run(context) {
    const { args, options, wiring, output } = context;
    const force = options.isSet('force');
    if (force && !options.isSet('yes')) {
      const count = args.length === 1 ? `machine ${args[0]}` : `${args.length} machines`;
      const answer = await wiring.confirm(`End ${count} and whatever runs there? [y/N] `, context.signal);
      if (answer === null) throw usage('--force asks for a yes, and this is no terminal', 'add --yes');
      if (!answer) {
        output.warn('nothing was ended');
        return 1;
      }
    }
    await orderMachines(context, 'terminate', { force });
    return 0;
  },
};
