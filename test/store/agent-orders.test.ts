import { describe, expect } from 'vitest';
import type { AgentId } from '../../src/model/ids.ts';
import { readAgentEvents } from '../../src/store/agent-events.ts';
import { createAgentOrdering } from '../../src/store/agent-orders.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import type { Db } from '../../src/store/database.ts';
import { createMachineOrders } from '../../src/store/machine-orders.ts';
import { createTaskStore } from '../../src/store/tasks.ts';
import { aMachine, anAgent, aReport, aTask, NOW_MS, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';

const LEASE_MS = 60_000;
const ADA = { by: 'ada', reason: 'a new disk' };

const agentOf = async (db: Db, id: AgentId) =>
  await db.selectFrom('agents').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

describe('a cordon of an operator', () => {
  test('is a row with a generation of its own, by name or id, and the same order again changes nothing', async ({
    db,
  }) => {
    const agentId = await anAgent(db, { name: 'rack-1' });
    const ordering = createAgentOrdering(db);

    expect(await ordering.setCordon('rack-1', 'cordon', ADA)).toEqual({ kind: 'done', agentId, changed: true });
    expect(await ordering.setCordon(agentId, 'cordon', ADA)).toEqual({ kind: 'done', agentId, changed: false });
    expect(await agentOf(db, agentId)).toMatchObject({ cordoned: true, cordon_generation: 1 });
    expect(await createTaskStore(db).listFreeAgents(LEASE_MS)).toEqual([]);

    expect(await ordering.setCordon('rack-1', 'uncordon', ADA)).toEqual({ kind: 'done', agentId, changed: true });
    expect(await agentOf(db, agentId)).toMatchObject({ cordoned: false, cordon_generation: 2 });
  });

  test('outlives a restart of the agent: its new boot is told the same', async ({ db }) => {
    const agentId = await anAgent(db, { name: 'rack-1' });
    await createAgentOrdering(db).setCordon('rack-1', 'cordon', ADA);
    const bootId = 'b0000000-0000-4000-8000-00000000000f';
    const [result] = await createAgentStore(db).writeReports([{ agentId, report: aReport({ bootId }) }], LEASE_MS);
    expect(result).toMatchObject({ kind: 'accepted', cordoned: true, cordonGeneration: 1 });
  });

  test('is for the datacenter only, and for one agent only', async ({ db }) => {
    const { agentId } = await aMachine(db, 'ready');
    await anAgent(db, { name: 'twin' });
    await anAgent(db, { name: 'twin' });
    const ordering = createAgentOrdering(db);

    expect(await ordering.setCordon(agentId!, 'cordon', ADA)).toEqual({ kind: 'refused', because: 'of-a-machine' });
    expect(await ordering.remove(agentId!, true, ADA)).toEqual({ kind: 'refused', because: 'of-a-machine' });
    expect(await ordering.setCordon('twin', 'cordon', ADA)).toEqual({ kind: 'refused', because: 'ambiguous' });
    expect(await ordering.setCordon('nobody', 'cordon', ADA)).toEqual({ kind: 'unknown' });
    const cordoned = await db.selectFrom('agents').select('id').where('cordoned', '=', true).execute();
    expect(cordoned).toEqual([]);
  });
});

describe('the history of an agent', () => {
  const eventsOf = async (db: Db, agentId: AgentId) => await readAgentEvents(db, agentId);

  test('has a row for each order that changed something, with who gave it, why and when', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db, { name: 'rack-1' });
    const ordering = createAgentOrdering(db);
    await ordering.setCordon('rack-1', 'drain', ADA);
    await ordering.setCordon('rack-1', 'cordon', ADA);
    await passTime(db, 1000);
    await ordering.setCordon('rack-1', 'uncordon', { by: 'bob', reason: null });
    await aTask(db, { state: 'running', agentId });
    await ordering.remove('rack-1', false, ADA);
    await ordering.remove('rack-1', true, ADA);

    const [at, later] = [NOW_MS, NOW_MS + 1000].map((ms) => new Date(ms).toISOString());
    expect(await eventsOf(db, agentId)).toEqual([
      { at, event: 'drain', actor: 'ada', reason: 'a new disk', detail: {} },
      { at: later, event: 'uncordon', actor: 'bob', reason: null, detail: {} },
      { at: later, event: 'remove', actor: 'ada', reason: 'a new disk', detail: { force: true, heldWork: true } },
    ]);
  });

  test('is written with the order or neither is: an order whose row is refused does not happen', async ({ db }) => {
    const agentId = await anAgent(db, { name: 'rack-1' });
    const nameless = { by: '', reason: null };
    const ordering = createAgentOrdering(db);
    await expect(ordering.setCordon('rack-1', 'cordon', nameless)).rejects.toThrow('agent_events_actor_check');
    await expect(ordering.remove('rack-1', false, nameless)).rejects.toThrow('agent_events_actor_check');
    expect(await agentOf(db, agentId)).toMatchObject({ cordoned: false, cordon_generation: 0, removed_at: null });
  });

  test('cannot be written anew', async ({ db }) => {
    await anAgent(db, { name: 'rack-1' });
    await createAgentOrdering(db).setCordon('rack-1', 'cordon', ADA);
    await expect(db.updateTable('agent_events').set({ actor: 'eve' }).execute()).rejects.toThrow('agent_events');
  });

  test('has nothing of what the drains of machines do to their agents: that is in the history of the machine', async ({
    db,
  }) => {
    const { id, agentId } = await aMachine(db, 'ready');
    await createMachineOrders(db).drain(id, ADA, 60_000);
    expect((await agentOf(db, agentId!)).cordoned).toBe(true);
    expect(await eventsOf(db, agentId!)).toEqual([]);
  });
});

describe('an agent that is removed', () => {
  test('is known by its token no more', async ({ db }) => {
    const agentId = await anAgent(db, { name: 'rack-1' });
    const { token_hash: tokenHash } = await agentOf(db, agentId);
    const agents = createAgentStore(db);
    expect(await agents.findByTokens([tokenHash])).toEqual([agentId]);

    expect(await createAgentOrdering(db).remove('rack-1', false, ADA)).toEqual({
      kind: 'done',
      agentId,
      changed: true,
    });

    expect(await agents.findByTokens([tokenHash])).toEqual([null]);
    expect(await agents.writeReports([{ agentId, report: aReport() }], LEASE_MS)).toMatchObject([
      { kind: 'unknown-agent' },
    ]);
    expect(await createAgentOrdering(db).remove('rack-1', false, ADA)).toEqual({ kind: 'unknown' });
  });

  test.for(['leased', 'running'] as const)(
    'holds no task, unless by force: a %s one stays its own until its lease is over',
    async (state, { db }) => {
      const agentId = await anAgent(db, { name: 'rack-1' });
      const taskId = await aTask(db, { state, agentId });
      const ordering = createAgentOrdering(db);

      expect(await ordering.remove('rack-1', false, ADA)).toEqual({ kind: 'refused', because: 'holds-work' });
      expect((await agentOf(db, agentId)).removed_at).toBeNull();

      expect(await ordering.remove('rack-1', true, ADA)).toMatchObject({ kind: 'done' });
      const taskOf = async () =>
        await db.selectFrom('tasks').select('state').where('id', '=', taskId).executeTakeFirstOrThrow();
      expect(await taskOf()).toEqual({ state });
      await db
        .updateTable('tasks')
        .set({ lease_expires_at: new Date(0) })
        .where('id', '=', taskId)
        .execute();
      await createTaskStore(db).expireLeases(10);
      expect(await taskOf()).toEqual({ state: 'pending' });
    },
  );

  test('does not work for another engine, as its probe says', async ({ db }) => {
    const agentId = await anAgent(db, { name: 'rack-1' });
    await createAgentStore(db).writeReports([{ agentId, report: aReport({ others: 1 }) }], LEASE_MS);
    expect(await createAgentOrdering(db).remove('rack-1', false, ADA)).toEqual({
      kind: 'refused',
      because: 'holds-work',
    });
  });
});
