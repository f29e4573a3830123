import { describe, expect } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import type { TaskQueues, WakeQueue } from '../../src/ports/queue.ts';
import type { Db } from '../../src/store/database.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createMemoryStore } from '../../src/store/memory.ts';
import { aMachine, anAgent, NOW_MS, OTHER_BOOT, someHex, WORKLOAD } from '../support/builders.ts';
import { realClock } from '../support/clock.ts';
import { test } from '../support/database.ts';
import { startEngine, TIMING } from './start-engine.ts';

/** State and attempt of every task, in the order in which they were submitted. */
async function statesOf(db: Db): Promise<[string, number][]> {
  const rows = await db.selectFrom('tasks').select(['state', 'attempt']).orderBy('submitted_at').execute();
  return rows.map(({ state, attempt }) => [state, attempt]);
}

describe('orders between two reports', () => {
  test('arrive as soon as work is given out', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    const report = agent.report();
    const outcome = await engine.gateway.heartbeat(agent.id, report);
    if (outcome.kind !== 'accepted') throw new Error(outcome.kind);
    const after = engine.gateway.ordersAfter({
      agentId: agent.id,
      report,
      mark: outcome.mark,
      signal: AbortSignal.timeout(10_000),
    });
    const [taskId] = await engine.submit(1);

    await engine.assign();

    expect((await after).orders.run).toMatchObject([{ taskId, attempt: 1 }]);
  });

  test('are quiet when nothing came, and keep the mark so that nothing is missed', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    const report = agent.report({ cordon: { cordoned: true, generation: 4 } });
    const over = new AbortController();
    const after = engine.gateway.ordersAfter({ agentId: agent.id, report, mark: 0, signal: over.signal });
    over.abort();
    engine.ports.bell.ring([agent.id]);

    const { orders, mark } = await after;

    expect(orders).toMatchObject({ cordon: { cordoned: true, generation: 4 }, run: [], stop: [], leave: false });
    expect(await engine.ports.bell.wait(agent.id, mark, AbortSignal.abort())).toBe(true);
  });
});

describe('a machine that waits for its agent', () => {
  test('is rung for with each report', async ({ db, databaseUrl }) => {
    const rung: unknown[] = [];
    await using engine = await startEngine(db, databaseUrl, {
      wake: { ...deadQueue(), ring: async (jobs) => void rung.push(...jobs) },
    });
    const { id, agentId } = await aMachine(db, 'draining');

    await engine.agent(agentId!).beat();

    expect(rung).toEqual([{ kind: 'machine', id }]);
  });

  test('costs its agent no answer when the queue is away', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl, { wake: deadQueue() });
    const { agentId } = await aMachine(db, 'draining');

    // An agent without answers ends its tasks after two thirds of its lease: running work would die with the queue.
    expect(await engine.agent(agentId!).beat()).toMatchObject({ cordon: { cordoned: true } });

    expect(engine.lines).toMatchObject([{ level: 'warn', details: { error: expect.stringContaining('away') } }]);
  });
});

describe('a notice that EC2 takes the machine back', () => {
  const END_MS = NOW_MS + 90_000;

  test('lets the machine drain at once, and its agent hears of the cordon with the same report', async ({
    db,
    databaseUrl,
  }) => {
    await using engine = await startEngine(db, databaseUrl);
    const { id, agentId } = await aMachine(db, 'ready');
    const agent = engine.agent(agentId!);
    const report = agent.report({ interruption: { atMs: END_MS } });

    const outcome = await engine.gateway.heartbeat(agent.id, report);
    if (outcome.kind !== 'accepted') throw new Error(outcome.kind);

    const { mark } = outcome;
    const after = await engine.gateway.ordersAfter({ agentId: agent.id, report, mark, signal: AbortSignal.abort() });
    expect(after.orders.cordon).toEqual({ cordoned: true, generation: 1 });
    expect((await createMachineStore(db).read(id))?.machine).toMatchObject({
      state: 'draining',
      endReason: 'spot-interrupted',
      deadlineAtMs: END_MS,
    });
    expect(engine.woken.planner).toBe(1);
    // It is repeated with every report, and told once.
    await agent.beat({ interruption: { atMs: END_MS } });
    expect(engine.lines.filter(({ message }) => message.includes('takes a spot machine back'))).toHaveLength(1);
  });

  test.for([
    ['without a time', null],
    ['with a time that EC2 never gives', Date.parse('2030-01-01T00:00:00Z')],
  ] as const)('%s counts as two minutes from now', async ([, atMs], { db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const { id, agentId } = await aMachine(db, 'ready');
    const fromMs = engine.ports.clock.nowMs();
    await engine.agent(agentId!).beat({ interruption: { atMs } });
    const { deadlineAtMs } = (await createMachineStore(db).read(id))!.machine;
    expect(deadlineAtMs! - fromMs).toBeGreaterThanOrEqual(120_000);
    expect(deadlineAtMs!).toBeLessThanOrEqual(engine.ports.clock.nowMs() + 120_000);
  });

  test('holds by the clock of the database, whatever the service’s own says', async ({ db, databaseUrl }) => {
    const late = { ...realClock, nowMs: () => realClock.nowMs() - 3_600_000 };
    await using engine = await startEngine(db, databaseUrl, { clock: late });
    const { id, agentId } = await aMachine(db, 'ready');
    const atMs = realClock.nowMs() + 90_000;
    await engine.agent(agentId!).beat({ interruption: { atMs } });
    expect((await createMachineStore(db).read(id))!.machine.deadlineAtMs).toBe(atMs);
  });

  test('that cannot be noted keeps no report from its answer', async ({ db, databaseUrl }) => {
    const away = new AppError('DATABASE_UNREACHABLE', 'away', { remedy: 'wait' });
    await using engine = await startEngine(db, databaseUrl, {
      interruptions: { noteInterruption: () => Promise.reject(away) },
    });
    const { agentId } = await aMachine(db, 'ready');
    expect(await engine.agent(agentId!).beat({ interruption: { atMs: END_MS } })).toMatchObject({ leave: false });
    expect(engine.lines).toMatchObject([{ level: 'warn', details: { error: 'away' } }]);
  });
});

describe('the queue of tasks is away', () => {
  test('and a report is answered all the same, a submission kept all the same', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    await using cut = await startEngine(db, databaseUrl, { queues: deadTaskQueues() });
    const agent = cut.agent(await anAgent(db));
    await engine.submit(1);
    await engine.assign();
    agent.obey(await agent.beat());
    agent.finish();

    expect((await agent.beat()).ack).toHaveLength(1);
    const [waiting] = await cut.submit(1);
    await expect(cut.assign()).rejects.toMatchObject({ code: 'QUEUE_UNREACHABLE' });

    expect(await statesOf(db)).toEqual([
      ['done', 1],
      ['pending', 0],
    ]);
    expect(cut.lines.filter(({ level }) => level === 'warn')).toHaveLength(2);
    await engine.assign();
    expect((await agent.beat()).run).toMatchObject([{ taskId: waiting }]);
  });
});

describe('the gateway', () => {
  test('lets an agent register, finds it by its token and tells it the timing', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const { id } = await aMachine(db, 'joining');
    const [enrolmentTokenHash, agentTokenHash] = [someHex(64), someHex(64)];
    await createMachineStore(db).issueEnrolment(id, enrolmentTokenHash, { workload: WORKLOAD }, 60_000);
    const registration = {
      name: 'ip-10-0-0-7',
      bootId: OTHER_BOOT,
      capacity: { cpuMilli: 2000, memoryMib: 4096, gpus: 0 },
      labels: {},
    };

    const outcome = await engine.gateway.register({ enrolmentTokenHash, agentTokenHash, registration });

    expect(outcome).toMatchObject({ kind: 'registered', timing: TIMING });
    const agentId = outcome.kind === 'registered' ? outcome.agentId : null;
    expect(await engine.gateway.authenticate(agentTokenHash)).toBe(agentId);
    expect(await engine.gateway.authenticate(someHex(64))).toBeNull();
    const again = { enrolmentTokenHash, agentTokenHash: someHex(64), registration: { ...registration, bootId: 'x' } };
    // Which of used, expired and unknown it was is for the log only.
    expect(await engine.gateway.register(again)).toEqual({ kind: 'refused' });
    expect(engine.lines).toContainEqual(expect.objectContaining({ details: { name: 'ip-10-0-0-7', why: 'used' } }));
  });

  test('says that a report is superseded, or its agent gone', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    const report = agent.report();
    await engine.gateway.heartbeat(agent.id, report);

    expect(await engine.gateway.heartbeat(agent.id, report)).toEqual({ kind: 'superseded' });
    await db.updateTable('agents').set({ removed_at: new Date() }).execute();
    expect(await engine.gateway.heartbeat(agent.id, agent.report())).toEqual({ kind: 'unknown-agent' });
  });
});

describe('a database that lost commits', () => {
  test('does not tell an agent that it is unknown, for it may only be forgotten', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db, { removed: true }));
    await createMemoryStore(db).declare({ reason: 'lost-lease', evidence: {} });

    // The agents' interface turns this into 503, which an agent takes as silence.
    const later = { code: 'DATABASE_AMNESIA', retryable: true };
    await expect(engine.gateway.authenticate(someHex(64))).rejects.toMatchObject(later);
    await expect(engine.gateway.heartbeat(agent.id, agent.report())).rejects.toMatchObject(later);
  });
});

describe('a submission', () => {
  test('takes the shape of the policy unless it names one', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);

    await engine.submit(2);
    await engine.submit(1, { shape: { cpuMilli: 250, memoryMib: 0, gpus: 0 } });

    const shapes = await db.selectFrom('tasks').select(['cpu_milli', 'memory_mib']).orderBy('submitted_at').execute();
    expect(shapes).toEqual([
      { cpu_milli: 1000, memory_mib: 1024 },
      { cpu_milli: 1000, memory_mib: 1024 },
      { cpu_milli: 250, memory_mib: 0 },
    ]);
  });

  test('for a workload without a policy, or with a command that no answer could carry, is refused whole', async ({
    db,
    databaseUrl,
  }) => {
    await using engine = await startEngine(db, databaseUrl);
    await using unknown = await startEngine(db, databaseUrl, { policies: () => new Map() });

    await expect(unknown.submit(1)).rejects.toMatchObject({ code: 'WORKLOAD_UNKNOWN' });
    await expect(engine.submit(1, { command: ['echo', 'x'.repeat(32 * 1024)] })).rejects.toMatchObject({
      code: 'USAGE',
    });

    expect(await statesOf(db)).toEqual([]);
  });
});

const AWAY = new AppError('QUEUE_UNREACHABLE', 'the queue is away', { remedy: 'wait' });
const fail = async (): Promise<never> => await Promise.reject(AWAY);

/** Queues whose store cannot be reached. */
function deadQueue(): WakeQueue {
  return { ring: fail, consume: fail, close: async () => undefined };
}

function deadTaskQueues(): TaskQueues {
  return {
    add: fail,
    take: fail,
    // Nothing to renew is no reason to ask.
    renew: async (leases) => (leases.length === 0 ? [] : await fail()),
    complete: fail,
    release: fail,
    recoverStalled: fail,
    close: async () => undefined,
  };
}
