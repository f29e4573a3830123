import type { MachineDetails } from '../../ports/reports.ts';
import { SECOND_MS } from '../../model/time.ts';
import { parseDuration } from '../../model/units.ts';
import { EXIT_PENDING } from '../exit-codes.ts';
import { parseUnit } from '../options.ts';
import type { CommandContext, CommandSpec } from '../types.ts';
import { MACHINES_ARGUMENT, orderMachines, REASON_OPTION } from './order.ts';

/** Machines move with the reports of their agents, every few seconds; asking more often shows nothing sooner. */
const LOOK_MS = 2 * SECOND_MS;
const WAIT_DEFAULT = '1h';

export const machineDrain: CommandSpec = {
  path: 'machine drain',
  summary: 'Give machines no new tasks, wait for what they run, and let them go',
  description:
    'Nothing that runs is ended, unless the policy says drain.onDeadline: terminate. The planner does not take such a machine back; `machine undrain` does.',
  arguments: MACHINES_ARGUMENT,
  options: [
    REASON_OPTION,
    { name: 'wait', summary: 'go on until they are gone, and say what keeps them' },
    { name: 'timeout', value: 'DURATION', summary: 'with --wait: for so long at most', default: WAIT_DEFAULT },
  ],
  examples: [
    { command: 'spillway machine drain mc-7f3ak2p9qx0z', summary: 'and go on with something else' },
    { command: 'spillway machine drain mc-7f3ak2p9qx0z --wait --timeout 20m', summary: 'exit code 8: still draining' },
  ],
  output: 'list',
  exitCodes: [3, 5, 8],
  seeAlso: ['machine undrain', 'explain machine'],
  async run(context) {
    const timeoutMs = parseUnit('timeout', context.options.text('timeout') ?? WAIT_DEFAULT, parseDuration);
    const receipts = await orderMachines(context, 'drain');
    if (!context.options.isSet('wait')) {
      if (receipts.length === 1) context.output.hint(`next: spillway explain machine ${receipts[0]?.id}`);
      return 0;
    }
    const ids = receipts.map(({ id }) => id);
    return await waitUntilGone(context, ids, context.nowMs() + timeoutMs);
  },
};

export const machineUndrain: CommandSpec = {
  path: 'machine undrain',
  summary: 'Call off drains that have touched no work yet',
  description: 'A machine that nothing needs is let go again by the next plan: protect it if it is to stay.',
  arguments: MACHINES_ARGUMENT,
  options: [REASON_OPTION],
  examples: [{ command: 'spillway machine undrain mc-7f3ak2p9qx0z', summary: 'it takes work again' }],
  output: 'list',
  exitCodes: [3, 5],
  seeAlso: ['machine drain', 'machine protect'],
  async run(context) {
    await orderMachines(context, 'undrain');
    return 0;
  },
};

async function waitUntilGone(context: CommandContext, ids: readonly string[], untilMs: number): Promise<number> {
  const { output, client, wiring, nowMs, signal } = context;
  const service = await client();
  const said = new Map<string, string>();
  let left = ids;
  for (;;) {
    const going: string[] = [];
    for (const id of left) {
      const machine = await service.get<MachineDetails>('Machine', `/v1/machines/${encodeURIComponent(id)}`);
      const says = progressOf(machine);
      if (said.get(id) !== says) output.hint(`${id}: ${says}`);
      said.set(id, says);
      // Back to work: somebody called its drain off, and waiting would have no end.
      if (machine.state !== 'terminated' && machine.state !== 'ready') going.push(id);
    }
    left = going;
    if (left.length === 0) return [...said.values()].some((says) => says.startsWith('ready')) ? 1 : 0;
    if (nowMs() + LOOK_MS > untilMs) {
      output.warn(`still on their way: ${left.join(', ')}; \`spillway explain machine ID\` says what keeps one`);
      return EXIT_PENDING;
    }
    await wiring.sleep(LOOK_MS, signal);
  }
}

function progressOf({ state, drain }: MachineDetails): string {
  const blockers = drain?.blockers ?? [];
  const [first] = blockers;
  if (first === undefined) return state;
  return `${state}: ${first.says}${blockers.length > 1 ? ` (and ${blockers.length - 1} more)` : ''}`;
}
