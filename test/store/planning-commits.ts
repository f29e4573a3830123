import type { MachineId } from '../../src/model/ids.ts';
import type { Lease } from '../../src/ports/leadership.ts';
import type { NewLaunch, PlanCommit } from '../../src/ports/planning.ts';
import type { Db } from '../../src/store/database.ts';
import { createLeadership } from '../../src/store/leadership.ts';
import { aBody, anId, NOW_MS, someHex, WORKLOAD, ZONE } from '../support/builders.ts';

export const TTL_MS = 15_000;

export async function lead(db: Db, holder = 'a'): Promise<Lease> {
  const lease = await createLeadership(db).acquire(holder, TTL_MS);
  return lease!;
}

export function aNewLaunch(count: number, overrides: Partial<NewLaunch> = {}): NewLaunch {
  return {
    id: anId('ln'),
    workload: WORKLOAD,
    nonce: someHex(32),
    token: `sw1.${someHex(16)}.1.test`,
    body: aBody({ count, market: 'spot' }),
    zone: ZONE,
    priceUsdPerHour: 0.0321,
    resources: { cpuMilli: 2000, memoryMib: 4096, gpus: 0 },
    arch: 'x86_64',
    machineIds: Array.from({ length: count }, () => anId('mc')),
    deadlineMs: 600_000,
    ladder: [],
    policyHash: 'ab'.repeat(32),
    probes: [],
    ...overrides,
  };
}

export function aCommit(lease: Lease, overrides: Partial<PlanCommit> = {}): PlanCommit {
  return {
    lease,
    planId: anId('pl'),
    traceId: someHex(32),
    input: { nowMs: NOW_MS },
    outcome: { workloads: [] },
    digest: 'digest-1',
    launches: [],
    drains: [],
    undrains: [],
    starts: [],
    retires: [],
    limits: new Map([[WORKLOAD, { machinesMax: 20, vcpusMax: null, hourlyUsdMax: null }]]),
    ...overrides,
  };
}

export function step(machineId: MachineId, revision = 1): PlanCommit['drains'][number] {
  return { machineId, revision, reason: 'unneeded', endReason: 'scale-down', deadlineMs: 90_000 };
}

export async function counts(db: Db): Promise<Record<'plans' | 'launches' | 'machines' | 'machine_events', number>> {
  const count = async (table: 'plans' | 'launches' | 'machines' | 'machine_events'): Promise<number> =>
    (await db.selectFrom(table).selectAll().execute()).length;
  return {
    plans: await count('plans'),
    launches: await count('launches'),
    machines: await count('machines'),
    machine_events: await count('machine_events'),
  };
}

export const agentOf = async (db: Db, id: string | null) =>
  await db
    .selectFrom('agents')
    .select(['cordoned', 'cordon_generation', 'cordon_acked_at'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow();

export const machineOf = async (db: Db, id: MachineId) =>
  await db.selectFrom('machines').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
