import { describe, expect } from 'vitest';
import type { AgentId, MachineId } from '../../src/model/ids.ts';
import type { AgentReport } from '../../src/ports/agent-gateway.ts';
import { isWorkGone } from '../../src/jobs/drain.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import type { Db } from '../../src/store/database.ts';
import { createMachineOrders } from '../../src/store/machine-orders.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createReports } from '../../src/store/reports.ts';
import { aMachine, anAgent, aReport, eventsSince, NOW_MS, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';

const LEASE_MS = 60_000;

async function report(db: Db, agentId: AgentId, overrides: Partial<AgentReport>): Promise<void> {
  await createAgentStore(db).writeReports([{ agentId, report: aReport(overrides) }], LEASE_MS);
}

const machineOf = async (db: Db, id: MachineId) =>
  await db.selectFrom('machines').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

describe('work of other engines', () => {
  test.for([
    [4, 4, 4],
    ['unknown', 1, null],
  ] as const)(
    'told as %s, it keeps a machine from being idle and from being let go',
    async ([others, counted, told], { db }) => {
      const { id, agentId } = await aMachine(db, 'draining');
      const cordon = { cordoned: true, generation: 1 };
      await db.updateTable('agents').set({ cordoned: true, cordon_generation: 1 }).where('id', '=', agentId!).execute();

      await report(db, agentId!, { seq: 11, others, cordon });
      const machines = createMachineStore(db);
      expect(isWorkGone((await machines.read(id))!)).toBe(false);
      expect((await machineOf(db, id)).idle_since).toBeNull();
      const facts = await createReports(db).readAgentFacts(agentId!);
      expect(facts?.agent).toMatchObject({ runningTasks: counted, otherTasks: told });

      await report(db, agentId!, { seq: 12, others: 0, cordon });
      expect(isWorkGone((await machines.read(id))!)).toBe(true);
      expect((await machineOf(db, id)).idle_since).not.toBeNull();
    },
  );
});

describe('a recommendation to rebalance', () => {
  test('is kept with the time when it was first heard, and gone with a new machine', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const noticed = async () => (await createReports(db).readAgentFacts(agentId))?.agent.rebalanceNoticedAt;
    await report(db, agentId, { seq: 11, rebalance: true });
    await passTime(db, 5000);
    await report(db, agentId, { seq: 12, rebalance: true });
    expect(await noticed()).toBe(new Date(NOW_MS).toISOString());
    await report(db, agentId, { seq: 13 });
    expect(await noticed()).toBeNull();
  });
});

describe('a machine that EC2 takes back', () => {
  const END_MS = NOW_MS + 110_000;

  test('drains from the first word on, cordoned, until the notice is over', async ({ db }) => {
    await stopClock(db);
    const { id, agentId } = await aMachine(db, 'ready');
    const interruptions = createMachineOrders(db);

    expect(await interruptions.noteInterruption(agentId!, END_MS)).toBe(true);
    expect(await interruptions.noteInterruption(agentId!, END_MS)).toBe(false);

    const machine = await machineOf(db, id);
    expect(machine).toMatchObject({ state: 'draining', end_reason: 'spot-interrupted' });
    expect(machine.deadline_at?.getTime()).toBe(END_MS);
    const events = (await eventsSince(db, id)).filter(({ reason }) => reason === 'spot-interrupted');
    expect(events).toMatchObject([{ from_state: 'ready', to_state: 'draining', actor: 'ec2' }]);
    const agent = await db.selectFrom('agents').select('cordoned').where('id', '=', agentId!).executeTakeFirst();
    expect(agent).toEqual({ cordoned: true });
  });

  test('while it drains for another reason, it drains no longer than the notice, and is not taken back', async ({
    db,
  }) => {
    await stopClock(db);
    const { id, agentId } = await aMachine(db, 'draining');

    expect(await createMachineOrders(db).noteInterruption(agentId!, END_MS)).toBe(true);

    const machine = await machineOf(db, id);
    expect(machine).toMatchObject({ state: 'draining', end_reason: 'spot-interrupted' });
    expect(machine.deadline_at?.getTime()).toBe(END_MS);
  });

  test('and is on its way out already, or is no machine, stays as it is', async ({ db }) => {
    const { id, agentId } = await aMachine(db, 'leaving');
    const local = await anAgent(db);
    const interruptions = createMachineOrders(db);
    expect(await interruptions.noteInterruption(agentId!, END_MS)).toBe(false);
    expect(await interruptions.noteInterruption(local, END_MS)).toBe(false);
    expect(await machineOf(db, id)).toMatchObject({ state: 'leaving' });
  });
});
