import { AppError } from '../../model/errors.ts';
import type { MachineOrderReceipt } from '../../ports/operator.ts';
import { usage } from '../options.ts';
import type { Output } from '../output/output.ts';
import type { Column } from '../output/table.ts';
import type { ServiceClient } from '../service-client.ts';
import type { ArgumentSpec, CommandContext, OptionSpec } from '../types.ts';

/** More in one command are a mistake of a script. */
const MACHINES_MAX = 100;

export const MACHINES_ARGUMENT: readonly ArgumentSpec[] = [
  { name: 'MACHINE', summary: 'ids of machines, mc-...', variadic: true, names: 'machines' },
];

export const REASON_OPTION: OptionSpec = {
  name: 'reason',
  value: 'TEXT',
  summary: 'why, for whoever reads the history of the machine',
};

const COLUMNS: readonly Column<MachineOrderReceipt>[] = [
  { header: 'ID', raw: ({ id }) => id },
  { header: 'ORDER', raw: ({ order }) => order },
  { header: 'CHANGED', raw: ({ changed }) => String(changed) },
  { header: 'STATE', raw: ({ state }) => state },
];

/** What an order may carry besides who gives it. */
export interface OrderBody {
  readonly forMs?: number | null;
  readonly force?: boolean;
}

/**
 * Gives one order about each machine that the command names, one after the other. A refusal does not keep the others from being
 * asked; the first one is thrown at the end.
 */
export async function orderMachines(
  context: CommandContext,
  order: MachineOrderReceipt['order'],
  body: OrderBody = {},
): Promise<readonly MachineOrderReceipt[]> {
  const { args, options, output, wiring } = context;
  const ids = [...new Set(args)];
  if (ids.length > MACHINES_MAX)
    throw usage(`more than ${MACHINES_MAX} machines at once`, 'give them in several commands');
  const whole = { by: wiring.userName(), reason: options.text('reason'), ...body };
  const { items, refusals } = await askEach(await context.client(), { ids, order, whole });
  const [first, ...others] = refusals;
  if (items.length > 0) await tell(output, items);
  for (const { message } of others) output.warn(message);
  if (first !== undefined) throw first;
  return items;
}

interface Asked {
  readonly items: readonly MachineOrderReceipt[];
  readonly refusals: readonly AppError[];
}

async function askEach(
  service: ServiceClient,
  { ids, order, whole }: { readonly ids: readonly string[]; readonly order: string; readonly whole: object },
): Promise<Asked> {
  const items: MachineOrderReceipt[] = [];
  const refusals: AppError[] = [];
  for (const id of ids) {
    try {
      items.push(await service.post('MachineOrder', `/v1/machines/${encodeURIComponent(id)}/${order}`, whole));
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      refusals.push(error);
    }
  }
  return { items, refusals };
}

async function tell(output: Output, items: readonly MachineOrderReceipt[]): Promise<void> {
  if (output.form === 'table' && !output.quiet) items.forEach((receipt) => output.line(sentence(receipt)));
  else {
    const empty = 'nothing was ordered';
    await output.list({ kind: 'MachineOrderList', items, columns: COLUMNS, name: ({ id }) => id, empty });
  }
  for (const { id } of items.filter(({ order, tagProtected }) => order === 'unprotect' && tagProtected))
    output.warn(`the tag spillway:protected of its instance still protects ${id}; remove it in EC2`);
}

const DONE: Readonly<Record<MachineOrderReceipt['order'], string>> = {
  protect: 'is protected',
  unprotect: 'may go again',
  drain: 'drains',
  undrain: 'takes work again',
  terminate: 'is ended',
};

function sentence({ id, order, changed, state }: MachineOrderReceipt): string {
  return changed ? `machine ${id} ${DONE[order]}` : `machine ${id}: nothing to do, it is ${state}`;
}
