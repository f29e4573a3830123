import type { MachineExplanation } from '../../ports/explanations.ts';
import { terminalSafeLines } from '../output/terminal-text.ts';
import type { CommandSpec } from '../types.ts';
import { machineSentences } from './machine-sentences.ts';

export const explainMachine: CommandSpec = {
  path: 'explain machine',
  summary: 'Say why a cloud machine is there, what happened to it, what it waits for and what it cost',
  arguments: [{ name: 'MACHINE', summary: 'id of the machine, mc-...', names: 'machines' }],
  examples: [{ command: 'spillway explain machine mc-7f3ak2p9qx0z', summary: 'from the plan that wanted it to now' }],
  output: 'object',
  exitCodes: [3],
  seeAlso: ['machine show', 'explain plan', 'explain agent'],
  async run({ args, output, client }) {
    const path = `/v1/machines/${encodeURIComponent(args[0] ?? '')}/explanation`;
    const machine = await (await client()).get<MachineExplanation>('MachineExplanation', path);
    await output.object('MachineExplanation', machine, () => {
      output.line(terminalSafeLines(machineSentences(machine).join('\n')));
    });
    return 0;
  },
};
