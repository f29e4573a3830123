import { SECOND_MS } from '../../model/time.ts';
import type { MachineLogDocument, MachineOutputDocument } from '../../ports/reports.ts';
import type { Output } from '../output/output.ts';
import { terminalSafeLines } from '../output/terminal-text.ts';
import type { CommandSpec } from '../types.ts';

const FOLLOW_INTERVAL_MS = 2 * SECOND_MS;

export const machineLogs: CommandSpec = {
  path: 'machine logs',
  summary: 'Print what recipe, hooks and console of a machine said',
  description:
    'The newest 256 KiB of each machine, also after it failed, with what looks like a secret taken out. The console of EC2 is kept when a join failed.',
  arguments: [{ name: 'MACHINE', summary: 'id of the machine, mc-...', names: 'machines' }],
  options: [{ name: 'follow', short: 'f', summary: 'go on until the machine is gone' }],
  examples: [
    { command: 'spillway machine logs mc-7f3ak2p9qx0z', summary: 'why it did not join' },
    { command: 'spillway machine logs -f mc-7f3ak2p9qx0z', summary: 'as it goes on; Ctrl-C changes nothing for it' },
  ],
  output: 'none',
  exitCodes: [3],
  seeAlso: ['machine show', 'explain machine'],
  async run({ args, options, output, client, wiring, signal }) {
    const service = await client();
    const path = `/v1/machines/${encodeURIComponent(args[0] ?? '')}/logs`;
    let after = 0;
    // Bounded by the machine: it ends, or Ctrl-C comes.
    for (;;) {
      const { items, ended } = await service.get<MachineLogDocument>('MachineLog', path, { after });
      items.forEach((item) => print(item, output));
      after = items.at(-1)?.id ?? after;
      if (items.length > 0) continue;
      if (ended || !options.isSet('follow')) return 0;
      await wiring.sleep(FOLLOW_INTERVAL_MS, signal);
    }
  },
};

function print({ at, phase, exitCode, times, content }: MachineOutputDocument, output: Output): void {
  const exit = exitCode === null ? '' : `, exit code ${exitCode}`;
  output.line(`--- ${at} ${phase}${exit}${times > 1 ? `, ${times} times` : ''}`);
  const text = content.replace(/\n$/, '');
  if (text !== '') output.line(output.interactive ? terminalSafeLines(text) : text);
}
