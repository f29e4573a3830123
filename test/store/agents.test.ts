import { describe, expect } from 'vitest';
import type { NewAgent } from '../../src/ports/tasks.ts';
import type { Db } from '../../src/store/database.ts';
import { readAgentEvents } from '../../src/store/agent-events.ts';
import { createAgentOrdering } from '../../src/store/agent-orders.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import { createMachineStore, transitionMachine } from '../../src/store/machines.ts';
import {
  aMachine,
  anAgent,
  anId,
  aReport,
  BOOT,
  NOW_MS,
  OTHER_BOOT,
  passTime,
  someHex,
  stopClock,
} from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

const TTL_MS = 60_000;
const ADA = { by: 'ada', reason: 'a new rack', installs: null };

function aNewAgent(overrides: Partial<NewAgent> = {}): NewAgent {
  return {
    id: anId('ag'),
    name: 'rack-1',
    tokenHash: someHex(64),
    labels: { pool: 'mine', rack: 'a1' },
    capacity: { cpuMilli: 4000, memoryMib: 8192, gpus: 0 },
    bootId: BOOT,
    ...overrides,
  };
}

async function anEnrolment(db: Db, labels: Readonly<Record<string, string>> = {}): Promise<string> {
  const token = someHex(64);
  await createAgentStore(db).createEnrolment(token, labels, TTL_MS, ADA);
  return token;
}

const rows = async (db: Db) => await db.selectFrom('agents').selectAll().orderBy('id').execute();

describe('register', () => {
  test('tells in its history who made the token, and why; an agent of a machine has none', async ({ db }) => {
    const token = await anEnrolment(db);
    const agent = aNewAgent();
    const agents = createAgentStore(db);
    await agents.register(token, agent);
    await agents.register(token, { ...agent, tokenHash: someHex(64) });
    const { id } = await aMachine(db, 'joining');
    const other = someHex(64);
    await createMachineStore(db).issueEnrolment(id, other, {}, TTL_MS);
    const ofMachine = aNewAgent();
    await agents.register(other, ofMachine);

    expect(await readAgentEvents(db, agent.id)).toMatchObject([
      { event: 'register', actor: 'ada', reason: 'a new rack', detail: {} },
    ]);
    expect(await readAgentEvents(db, ofMachine.id)).toEqual([]);
  });

  test('tells of an agent that is installed again with the order itself, unless its name is that of several', async ({
    db,
  }) => {
    const agents = createAgentStore(db);
    const [rack, twin] = [await anAgent(db, { name: 'rack-1' }), await anAgent(db, { name: 'twin' })];
    await anAgent(db, { name: 'twin' });
    for (const installs of ['rack-1', 'twin', 'nobody'])
      await agents.createEnrolment(someHex(64), {}, TTL_MS, { ...ADA, installs });
    expect(await readAgentEvents(db, rack)).toMatchObject([{ event: 'install', actor: 'ada', reason: 'a new rack' }]);
    expect(await readAgentEvents(db, twin)).toEqual([]);
  });

  test('refuses an agent that was removed the token that a second installation left on its machine', async ({ db }) => {
    const agents = createAgentStore(db);
    await anAgent(db, { name: 'rack-1' });
    const [left, other] = [someHex(64), someHex(64)];
    await agents.createEnrolment(left, {}, TTL_MS, { ...ADA, installs: 'rack-1' });
    await agents.createEnrolment(other, {}, TTL_MS, { ...ADA, installs: 'rack-2' });
    expect(await createAgentOrdering(db).remove('rack-1', false, ADA)).toMatchObject({ kind: 'done' });
    expect(await agents.register(left, aNewAgent())).toEqual({ kind: 'refused', why: 'expired' });
    expect(await agents.register(other, aNewAgent())).toMatchObject({ kind: 'registered' });
  });

  test('takes the token of a second installation from a machine that has lost its agent', async ({ db }) => {
    const agents = createAgentStore(db);
    await anAgent(db, { name: 'rack-1' });
    const token = someHex(64);
    await agents.createEnrolment(token, {}, TTL_MS, { ...ADA, installs: 'rack-1' });
    const agent = aNewAgent();
    expect(await agents.register(token, agent)).toEqual({ kind: 'registered', agentId: agent.id });
    expect(await agents.register(token, { ...agent, tokenHash: someHex(64) })).toMatchObject({ agentId: agent.id });
  });

  test('makes the agent, and the labels of the enrolment win over its own', async ({ db }) => {
    await stopClock(db);
    const token = await anEnrolment(db, { pool: 'media' });
    const agent = aNewAgent();
    const agents = createAgentStore(db);

    expect(await agents.register(token, agent)).toEqual({ kind: 'registered', agentId: agent.id });

    expect(await rows(db)).toMatchObject([
      {
        id: agent.id,
        site: 'on-prem',
        machine_id: null,
        labels: { pool: 'media', rack: 'a1' },
        capacity_cpu_milli: 4000,
        last_seen_at: null,
      },
    ]);
    expect(await agents.findByTokens([agent.tokenHash])).toEqual([agent.id]);
    expect(await agents.findByTokens([someHex(64)])).toEqual([null]);
  });

  test('burns the token: another boot comes too late', async ({ db }) => {
    const token = await anEnrolment(db);
    const agents = createAgentStore(db);
    await agents.register(token, aNewAgent());

    expect(await agents.register(token, aNewAgent({ bootId: OTHER_BOOT }))).toEqual({ kind: 'refused', why: 'used' });
    expect(await rows(db)).toHaveLength(1);
  });

  test('lets one of many in that come with the same token at once', async ({ db }) => {
    const token = await anEnrolment(db);
    const agents = createAgentStore(db);

    const outcomes = await Promise.all(
      ['1', '2', '3', '4'].map((boot) => agents.register(token, aNewAgent({ bootId: boot }))),
    );

    expect(outcomes.map(({ kind }) => kind).sort()).toEqual(['refused', 'refused', 'refused', 'registered']);
    expect(await rows(db)).toHaveLength(1);
  });

  test('answers the same boot again until its first heartbeat, with a new token for the same agent', async ({ db }) => {
    const token = await anEnrolment(db);
    const agents = createAgentStore(db);
    const first = aNewAgent();
    const second = aNewAgent();
    await agents.register(token, first);

    expect(await agents.register(token, second)).toEqual({ kind: 'registered', agentId: first.id });
    expect(await agents.findByTokens([first.tokenHash])).toEqual([null]);
    expect(await agents.findByTokens([second.tokenHash])).toEqual([first.id]);

    await agents.writeReports([{ agentId: first.id, report: aReport() }], TTL_MS);
    expect(await agents.register(token, aNewAgent())).toEqual({ kind: 'refused', why: 'used' });
    expect(await agents.findByTokens([second.tokenHash])).toEqual([first.id]);
  });

  test('refuses a token that ran out, and one that nobody knows', async ({ db }) => {
    await stopClock(db);
    const agents = createAgentStore(db);
    const token = someHex(64);
    expect(await agents.createEnrolment(token, {}, TTL_MS, ADA)).toEqual({ expiresAtMs: NOW_MS + TTL_MS });
    await passTime(db, TTL_MS);

    expect(await agents.register(token, aNewAgent())).toEqual({ kind: 'refused', why: 'expired' });
    expect(await agents.register(someHex(64), aNewAgent())).toEqual({ kind: 'refused', why: 'unknown-token' });
    expect(await rows(db)).toEqual([]);
  });
});

describe('register on a machine', () => {
  async function aTokenOf(db: Db, state: 'joining' | 'ready' | 'terminated') {
    const { id } = await aMachine(db, state);
    const token = someHex(64);
    await createMachineStore(db).issueEnrolment(id, token, { workload: 'transcode' }, TTL_MS);
    return { id, token };
  }

  test('makes an agent of the cloud that belongs to the machine', async ({ db }) => {
    const { id, token } = await aTokenOf(db, 'joining');

    await createAgentStore(db).register(token, aNewAgent({ labels: { workload: 'other' } }));

    expect(await rows(db)).toMatchObject([{ site: 'aws', machine_id: id, labels: { workload: 'transcode' } }]);
  });

  test('a second time replaces the first agent, which is told nothing any more', async ({ db }) => {
    const { id, token } = await aTokenOf(db, 'joining');
    const agents = createAgentStore(db);
    const first = aNewAgent();
    await agents.register(token, first);
    const again = someHex(64);
    await createMachineStore(db).issueEnrolment(id, again, {}, TTL_MS);
    const second = aNewAgent({ bootId: OTHER_BOOT });

    expect(await agents.register(again, second)).toEqual({ kind: 'registered', agentId: second.id });

    expect(await agents.findByTokens([first.tokenHash])).toEqual([null]);
    const [word] = await agents.writeReports([{ agentId: first.id, report: aReport() }], TTL_MS);
    expect(word).toMatchObject({ kind: 'unknown-agent' });
  });

  test('that works already is refused: a late second join must not push its agent aside', async ({ db }) => {
    const { token } = await aTokenOf(db, 'ready');
    const before = await rows(db);

    expect(await createAgentStore(db).register(token, aNewAgent())).toEqual({ kind: 'refused', why: 'expired' });
    expect(await rows(db)).toEqual(before);
  });

  test('that has ended is refused: nothing would ever forget its agent', async ({ db }) => {
    const { token } = await aTokenOf(db, 'terminated');

    expect(await createAgentStore(db).register(token, aNewAgent())).toEqual({ kind: 'refused', why: 'expired' });
    expect(await rows(db)).toEqual([]);
  });

  test('that ends at the same moment is refused as well', async ({ db }) => {
    const { id, token } = await aTokenOf(db, 'joining');

    await withOpenTransaction(db, async (ending) => {
      await transitionMachine(
        ending,
        { id, state: 'joining', revision: 1 },
        { to: 'terminated', actor: 'test', reason: 'gone', endReason: 'instance-gone' },
      );
      const registration = createAgentStore(db).register(token, aNewAgent());
      await untilBlocked(db);
      await ending.commit().execute();

      expect(await registration).toEqual({ kind: 'refused', why: 'expired' });
    });
  });
});

describe('findByTokens', () => {
  test('does not find an agent that was removed', async ({ db }) => {
    const tokenHash = someHex(64);
    await anAgent(db, { tokenHash, removed: true });

    expect(await createAgentStore(db).findByTokens([tokenHash])).toEqual([null]);
  });
});
