import { ringFor } from '../loops/ring.ts';
import type { LoopPorts } from '../loops/ports.ts';
import { AppError } from '../model/errors.ts';
import type { MachineId } from '../model/ids.ts';
import { STATE_DEADLINE_MS, type MachineState } from '../model/machine.ts';
import type { MachineOrders, OrderOutcome, OrderRefusal } from '../ports/machine-orders.ts';
import type { MachineOrder, MachineOrderReceipt } from '../ports/operator.ts';
import type { Reports } from '../ports/reports.ts';

export interface OrderParts {
  readonly loops: LoopPorts;
  readonly orders: MachineOrders;
  readonly reports: Pick<Reports, 'showMachine'>;
}

/** Carries out what an operator orders of one machine, and rings for it. @throws AppError NOT_FOUND, REFUSED, DATABASE_AMNESIA */
export async function orderMachine(
  parts: OrderParts,
  id: MachineId,
  order: MachineOrder,
): Promise<MachineOrderReceipt> {
  const { loops } = parts;
  const outcome = await carryOut(parts, id, order);
  if (outcome.kind === 'unknown') throw unknownMachine(id);
  if (outcome.kind === 'refused') throw refusal(id, order, outcome);
  const { changed, state, agentId, tagProtected } = outcome;
  if (changed) {
    await ringFor(loops, [{ kind: 'machine', id }]);
    // A cordon, or its end, reaches the agent at once instead of with its next report.
    if (agentId !== null) loops.notifyAgents([agentId]);
    const { kind, by, reason } = order;
    loops.log.info({ machineId: id, order: kind, by, reason, state }, 'an operator gave an order about a machine');
  }
  return { id, order: order.kind, changed, state, tagProtected };
}

async function carryOut(parts: OrderParts, id: MachineId, order: MachineOrder): Promise<OrderOutcome> {
  const { orders } = parts;
  switch (order.kind) {
    case 'protect':
      return await orders.protect(id, order, order.forMs);
    case 'unprotect':
      return await orders.unprotect(id, order);
    case 'drain':
      return await orders.drain(id, order, await drainMs(parts, id));
    case 'undrain':
      return await orders.undrain(id, order);
    case 'terminate':
      return await orders.terminate(id, order, order.force);
  }
}

/** As the newest policy of its workload has it. */
async function drainMs({ loops, reports }: OrderParts, id: MachineId): Promise<number> {
  const machine = await reports.showMachine(id);
  if (machine === null) throw unknownMachine(id);
  const known = await loops.planning.readPolicy(machine.workload);
  return known?.policy.drain.deadlineMs ?? STATE_DEADLINE_MS.draining ?? 0;
}

function unknownMachine(id: MachineId): AppError {
  return new AppError('NOT_FOUND', `there is no machine ${id}`, {
    remedy: 'list machines with `spillway machine list --all`',
  });
}

interface Refused {
  readonly because: OrderRefusal;
  readonly state: MachineState;
}

function refusal(id: MachineId, { kind }: MachineOrder, { because, state }: Refused): AppError {
  const { says, remedy } = REFUSALS[because];
  const code = because === 'amnesia' ? 'DATABASE_AMNESIA' : 'REFUSED';
  return new AppError(code, `machine ${id} (${state}): ${kind} is refused, ${says}`, {
    remedy: remedy.replaceAll('ID', id),
    details: { because, state },
  });
}

const REFUSALS: Readonly<Record<OrderRefusal, { readonly says: string; readonly remedy: string }>> = {
  protected: {
    says: 'because it is protected',
    remedy:
      '`spillway machine show ID` says by whom; `spillway machine unprotect ID`, or remove the tag from its instance',
  },
  leaving: {
    says: 'because it is on its way out for good',
    remedy: '`spillway explain machine ID` says why; what it ran runs elsewhere',
  },
  'work-touched': {
    says: 'because a hook of its drain may have touched its work',
    remedy: 'let it go; the planner launches another one when it is needed',
  },
  'not-ready': {
    says: 'because it takes no work yet',
    remedy: 'wait until it is ready, or `spillway machine terminate ID`',
  },
  'no-instance': {
    says: 'because EC2 has given no instance yet',
    remedy: 'wait a few seconds: its launch ends by itself; limits.max: 0 in the policy stops new ones',
  },
  'may-work': {
    says: 'because work may run on it',
    remedy:
      '`spillway machine drain ID` lets it finish; --force ends it now, and its tasks run elsewhere from the start',
  },
  amnesia: {
    says: 'because the database has lost commits',
    remedy: 'wait; `spillway status` says what the rebuilding waits for',
  },
};
