import { sql } from 'kysely';

import type { AgentId, MachineId } from '../model/ids.ts';
import { isId } from '../model/ids.ts';
import type { MachineRef, MachineState } from '../model/machine.ts';
import { SPOT_NOTICE_MS } from '../model/state-waits.ts';
import type { EpochMs } from '../model/time.ts';
import type { MachineOrders, Orderer, OrderOutcome, OrderRefusal } from '../ports/machine-orders.ts';
import type { Transition } from '../ports/machines.ts';
import { lockAgentsOf } from './cordon.ts';
import { dbNow, dbNowPlus, inTransaction, type Db, type Tx } from './database.ts';
import { writeMachineEvent } from './machine-events.ts';
import { transitionMachine } from './machines.ts';
import { isProtected } from './protection.ts';

const OPERATOR = 'operator';
const EC2 = 'ec2';
const INTERRUPTED = 'spot-interrupted';

/** What people, and EC2, order of single machines. */
export function createMachineOrders(db: Db): MachineOrders {
  const order = async (id: MachineId, carryOut: (tx: Tx, row: OrderedRow) => Promise<OrderOutcome>) =>
    await inTransaction(db, async (tx) => {
      const row = await lockMachine(tx, id);
      return row === null ? ({ kind: 'unknown' } as const) : await carryOut(tx, row);
    });
  return {
    protect: async (id, orderer, forMs) =>
      await order(id, async (tx, row) => await protect(tx, row, { orderer, forMs })),
    unprotect: async (id, orderer) => await order(id, async (tx, row) => await unprotect(tx, row, orderer)),
    drain: async (id, orderer, deadlineMs) =>
      await order(id, async (tx, row) => await drain(tx, row, { orderer, deadlineMs })),
    undrain: async (id, orderer) => await order(id, async (tx, row) => await undrain(tx, row, orderer)),
    terminate: async (id, orderer, force) =>
      await order(id, async (tx, row) => await terminate(tx, row, { orderer, force })),
    noteInterruption: async (who, atMs) =>
      await inTransaction(db, async (tx) => {
        const id = isId('mc', who) ? who : await findMachineOf(tx, who);
        const row = id === null ? null : await lockMachine(tx, id);
        return row !== null && (await interrupt(tx, row, atMs));
      }),
  };
}

interface OrderedRow extends MachineRef {
  readonly agentId: AgentId | null;
  readonly endReason: string | null;
  readonly drainIrrevocable: boolean;
  readonly isProtected: boolean;
  readonly tagProtected: boolean;
  /** By an operator, whether or not that is over. */
  readonly ordered: boolean;
  readonly isInterrupted: boolean;
}

/** Agents before machines, as everywhere. */
async function lockMachine(tx: Tx, id: MachineId): Promise<OrderedRow | null> {
  await lockAgentsOf(tx, [id]);
  const row = await tx
    .selectFrom('machines as m')
    .select(['m.state', 'm.revision', 'm.agent_id', 'm.end_reason', 'm.drain_irrevocable', 'm.tag_protected'])
    .select(['m.protected_at', 'm.interrupted_at'])
    .select(isProtected('m').as('is_protected'))
    .where('m.id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) return null;
  return {
    id,
    state: row.state as MachineState,
    revision: row.revision,
    agentId: row.agent_id as AgentId | null,
    endReason: row.end_reason,
    drainIrrevocable: row.drain_irrevocable,
    isProtected: row.is_protected,
    tagProtected: row.tag_protected,
    ordered: row.protected_at !== null,
    isInterrupted: row.interrupted_at !== null,
  };
}

async function findMachineOf(tx: Tx, agentId: AgentId): Promise<MachineId | null> {
  const row = await tx
    .selectFrom('agents')
    .select('machine_id')
    .where('id', '=', agentId)
    .where('removed_at', 'is', null)
    .executeTakeFirst();
  return (row?.machine_id ?? null) as MachineId | null;
}

function done(row: OrderedRow, changed: boolean, state: MachineState = row.state): OrderOutcome {
  return { kind: 'done', changed, state, agentId: row.agentId, tagProtected: row.tagProtected };
}

function refuse({ state }: OrderedRow, because: OrderRefusal): OrderOutcome {
  return { kind: 'refused', because, state };
}

/** The row is locked: a change that is not taken was forbidden, and only lost commits forbid it. */
async function move(tx: Tx, row: OrderedRow, transition: Transition): Promise<OrderOutcome> {
  return (await transitionMachine(tx, row, transition)) ? done(row, true, transition.to) : refuse(row, 'amnesia');
}

/** What is told of an order in the machine's history. */
function told({ by, reason }: Orderer): Readonly<Record<string, unknown>> {
  return { by, ...(reason === null ? {} : { reason }) };
}

async function note(tx: Tx, row: MachineRef, reason: string, detail: Readonly<Record<string, unknown>>): Promise<void> {
  await writeMachineEvent(tx, { machineId: row.id, from: row.state, to: row.state, actor: OPERATOR, reason, detail });
}

/** A drain that an operator or the planner chose; what else ends a machine is no choice. */
function isChosen({ endReason }: OrderedRow): boolean {
  return endReason === 'scale-down' || endReason === 'operator';
}

const COMING: ReadonlySet<MachineState> = new Set(['requested', 'launching', 'booting', 'joining']);
/** Or gone, or stopped: it has left, and the planner alone brings it back. */
const GOING: ReadonlySet<MachineState> = new Set(['leaving', 'stopping', 'stopped', 'terminating', 'terminated']);

async function protect(
  tx: Tx,
  row: OrderedRow,
  { orderer, forMs }: { readonly orderer: Orderer; readonly forMs: number | null },
): Promise<OrderOutcome> {
  if (GOING.has(row.state)) return refuse(row, 'leaving');
  const called = row.state === 'draining' ? await undrain(tx, row, orderer) : done(row, true);
  if (called.kind !== 'done') return called;
  const { until } = await tx
    .updateTable('machines')
    .set({ protected_at: dbNow(), protected_until: forMs === null ? null : dbNowPlus(forMs) })
    .set({ protected_by: orderer.by, protected_reason: orderer.reason })
    .where('id', '=', row.id)
    .returning('protected_until as until')
    .executeTakeFirstOrThrow();
  const detail = { ...told(orderer), until: until === null ? null : new Date(until).toISOString() };
  await note(tx, { ...row, state: called.state }, 'protected', detail);
  return called;
}

async function unprotect(tx: Tx, row: OrderedRow, orderer: Orderer): Promise<OrderOutcome> {
  if (!row.ordered) return done(row, false);
  await tx
    .updateTable('machines')
    .set({ protected_at: null, protected_until: null, protected_by: null, protected_reason: null })
    .where('id', '=', row.id)
    .execute();
  await note(tx, row, 'unprotected', told(orderer));
  return done(row, true);
}

async function drain(
  tx: Tx,
  row: OrderedRow,
  { orderer, deadlineMs }: { readonly orderer: Orderer; readonly deadlineMs: number },
): Promise<OrderOutcome> {
  if (GOING.has(row.state)) return done(row, false);
  if (COMING.has(row.state)) return refuse(row, 'not-ready');
  if (row.state === 'draining') return await takeOverDrain(tx, row, orderer);
  if (row.isProtected) return refuse(row, 'protected');
  const detail = told(orderer);
  const order = { to: 'draining', actor: OPERATOR, reason: 'operator', endReason: 'operator' } as const;
  return await move(tx, row, { ...order, deadlineMs, cordon: true, detail });
}

/** The planner takes back what it let go itself; what an operator wants gone stays gone. */
async function takeOverDrain(tx: Tx, row: OrderedRow, orderer: Orderer): Promise<OrderOutcome> {
  if (row.endReason !== 'scale-down') return done(row, false);
  await tx.updateTable('machines').set({ end_reason: 'operator' }).where('id', '=', row.id).execute();
  await note(tx, row, 'operator', told(orderer));
  return done(row, true);
}

async function undrain(tx: Tx, row: OrderedRow, orderer: Orderer): Promise<OrderOutcome> {
  if (GOING.has(row.state)) return refuse(row, 'leaving');
  if (row.state !== 'draining') return done(row, false);
  if (!isChosen(row) || row.isInterrupted) return refuse(row, 'leaving');
  if (row.drainIrrevocable) return refuse(row, 'work-touched');
  const detail = told(orderer);
  return await move(tx, row, { to: 'ready', actor: OPERATOR, reason: 'drain-cancelled', cordon: false, detail });
}

async function terminate(
  tx: Tx,
  row: OrderedRow,
  { orderer, force }: { readonly orderer: Orderer; readonly force: boolean },
): Promise<OrderOutcome> {
  if (row.state === 'terminating' || row.state === 'terminated') return done(row, false);
  if (row.state === 'requested' || row.state === 'launching') return refuse(row, 'no-instance');
  if (row.isProtected) return refuse(row, 'protected');
  const mayWork = row.state === 'ready' || row.state === 'draining';
  if (mayWork && !force) return refuse(row, 'may-work');
  return await move(tx, row, {
    to: 'terminating',
    actor: OPERATOR,
    reason: 'operator',
    endReason: 'operator',
    detail: { ...told(orderer), force },
    // Nothing is given to it while EC2 ends it.
    ...(mayWork ? { cordon: true } : {}),
  });
}

/**
 * By the clock of the database: a process whose own is wrong would end work before EC2 does. A time beyond the notice is a mistake
 * or a lie.
 */
async function endOfNotice(tx: Tx, atMs: EpochMs | null): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`select spillway.now() as now`.execute(tx);
  const latestMs = (rows[0]?.now.getTime() ?? 0) + SPOT_NOTICE_MS;
  return new Date(Math.min(atMs ?? latestMs, latestMs));
}

async function interrupt(tx: Tx, row: OrderedRow, atMs: EpochMs | null): Promise<boolean> {
  if (GOING.has(row.state) || row.isInterrupted || row.state === 'requested' || row.state === 'launching') return false;
  const at = await endOfNotice(tx, atMs);
  const detail = { interruptedAt: at.toISOString() };
  if (row.state === 'draining') {
    // Whoever began the drain, EC2 ends it.
    await tx
      .updateTable('machines')
      .set({ end_reason: INTERRUPTED, interrupted_at: at, wake_at: dbNow() })
      .set({ deadline_at: sql<Date>`least(deadline_at, ${at}::timestamptz)` })
      .where('id', '=', row.id)
      .execute();
    const { id: machineId, state } = row;
    await writeMachineEvent(tx, { machineId, from: state, to: state, actor: EC2, reason: INTERRUPTED, detail });
    return true;
  }
  const isReady = row.state === 'ready';
  const moved = await transitionMachine(tx, row, {
    to: isReady ? 'draining' : 'terminating',
    actor: EC2,
    reason: INTERRUPTED,
    endReason: INTERRUPTED,
    detail,
    ...(isReady ? { cordon: true } : {}),
  });
  if (!moved) return false;
  const deadline = isReady ? { deadline_at: at } : {};
  await tx
    .updateTable('machines')
    .set({ interrupted_at: at, ...deadline })
    .where('id', '=', row.id)
    .execute();
  return true;
}
