import type { Selectable } from 'kysely';

import type { AgentId, LaunchId, MachineId, PlanId } from '../model/ids.ts';
import type { EndReason, Machine, MachineCommon } from '../model/machine.ts';
import type { Market } from '../model/offering.ts';
import { toMs } from './database.ts';
import type { Database } from './database.generated.ts';

const COLUMNS = [
  'id',
  'launch_id',
  'plan_id',
  'trace_id',
  'workload',
  'state',
  'revision',
  'instance_type',
  'cpu_milli',
  'memory_mib',
  'gpus',
  'zone',
  'market',
  'price_usd_per_hour',
  'created_at',
  'state_since',
  'deadline_at',
  'instance_id',
  'private_ip',
  'agent_id',
  'end_reason',
] as const;
type Column = (typeof COLUMNS)[number];
export type MachineRow = Pick<Selectable<Database['machines']>, Column>;

/** The columns of a `Machine`, qualified by the table's alias. */
export function machineColumns<A extends string>(alias: A): `${A}.${Column}`[] {
  return COLUMNS.map((column) => `${alias}.${column}` as const);
}

/** Row to union member; a row that lacks what its state promises is a bug of ours and ends the process. */
export function toMachine(row: MachineRow): Machine {
  const common: MachineCommon = {
    id: row.id as MachineId,
    launchId: row.launch_id as LaunchId,
    planId: row.plan_id as PlanId,
    traceId: row.trace_id,
    workload: row.workload,
    instanceType: row.instance_type,
    resources: { cpuMilli: row.cpu_milli, memoryMib: row.memory_mib, gpus: row.gpus },
    zone: row.zone,
    market: row.market as Market,
    priceUsdPerHour: Number(row.price_usd_per_hour),
    revision: row.revision,
    createdAtMs: toMs(row.created_at),
    stateSinceMs: toMs(row.state_since),
    deadlineAtMs: toMs(row.deadline_at),
  };
  const state = row.state as Machine['state'];
  if (state === 'requested' || state === 'launching') return { ...common, state };
  if (state === 'terminated') {
    return { ...common, state, instanceId: row.instance_id, endReason: endReasonOf(row) };
  }
  return withInstance(row, common, state);
}

type StateWithInstance = Exclude<Machine['state'], 'requested' | 'launching' | 'terminated'>;

function withInstance(row: MachineRow, common: MachineCommon, state: StateWithInstance): Machine {
  const born = { ...common, ...instanceOf(row) };
  switch (state) {
    case 'booting':
    case 'joining':
      return { ...born, state };
    case 'ready':
      return { ...born, state, agentId: agentOf(row) };
    case 'draining':
    case 'leaving':
      return { ...born, state, agentId: agentOf(row), endReason: endReasonOf(row) };
    case 'stopping':
    case 'stopped':
    case 'terminating':
      return { ...born, state, endReason: endReasonOf(row) };
  }
}

function instanceOf(row: MachineRow): { instanceId: string; privateIp: string | null } {
  if (row.instance_id === null) throw new Error(`bug: machine ${row.id} is ${row.state} without an instance`);
  return { instanceId: row.instance_id, privateIp: row.private_ip };
}

function agentOf(row: MachineRow): AgentId {
  if (row.agent_id === null) throw new Error(`bug: machine ${row.id} is ${row.state} without an agent`);
  return row.agent_id as AgentId;
}

function endReasonOf(row: MachineRow): EndReason {
  if (row.end_reason === null) throw new Error(`bug: machine ${row.id} is ${row.state} without a reason`);
  return row.end_reason as EndReason;
}
