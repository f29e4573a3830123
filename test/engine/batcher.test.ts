import { describe, expect } from 'vitest';
import { Batcher } from '../../src/engine/batcher.ts';
import type { AgentId } from '../../src/model/ids.ts';
import type { AgentStore, ReportOf, ReportResult } from '../../src/ports/tasks.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import type { Db } from '../../src/store/database.ts';
import { anAgent, aReport } from '../support/builders.ts';
import { realClock } from '../support/clock.ts';
import { test } from '../support/database.ts';

const LEASE_MS = 60_000;

type WriteReports = AgentStore['writeReports'];

/** A batcher over the real store that keeps the batches it wrote; `write` may do something else with one. */
function aBatcher(
  db: Db,
  write?: (batch: readonly ReportOf[], real: WriteReports) => Promise<readonly ReportResult[]>,
) {
  const store = createAgentStore(db);
  const batches: (readonly ReportOf[])[] = [];
  const agents: AgentStore = {
    ...store,
    writeReports: async (batch, leaseMs) => {
      batches.push(batch);
      return write === undefined ? await store.writeReports(batch, leaseMs) : await write(batch, store.writeReports);
    },
  };
  const carryOut = async (batch: readonly ReportOf[]) => await agents.writeReports(batch, LEASE_MS);
  const batcher = new Batcher<ReportOf, ReportResult>({ clock: realClock, carryOut, keyOf: ({ agentId }) => agentId });
  return { batches, batcher };
}

async function someAgents(db: Db, count: number): Promise<AgentId[]> {
  const ids: AgentId[] = [];
  for (let index = 0; index < count; index += 1) ids.push(await anAgent(db));
  return ids;
}

describe('Batcher', () => {
  test('writes what comes together as one batch, and answers each report with its own result', async ({ db }) => {
    const agents = await someAgents(db, 20);
    const { batcher, batches } = aBatcher(db);

    const results = await Promise.all(agents.map((id) => batcher.add({ agentId: id, report: aReport() })));

    expect(results.map(({ agentId }) => agentId)).toEqual(agents);
    expect(results.every(({ kind }) => kind === 'accepted')).toBe(true);
    expect(batches.map((batch) => batch.length)).toEqual([20]);
  });

  test('writes one report of an agent per batch, in the order they came', async ({ db }) => {
    const [first, second] = await someAgents(db, 2);
    const { batcher, batches } = aBatcher(db);

    const results = await Promise.all([
      batcher.add({ agentId: first!, report: aReport({ seq: 1 }) }),
      batcher.add({ agentId: first!, report: aReport({ seq: 2 }) }),
      batcher.add({ agentId: second!, report: aReport({ seq: 1 }) }),
      batcher.add({ agentId: first!, report: aReport({ seq: 3 }) }),
    ]);

    expect(results.map(({ kind }) => kind)).toEqual(Array(4).fill('accepted'));
    expect(batches.map((batch) => batch.map(({ agentId, report }) => [agentId, report.seq]))).toEqual([
      [
        [first, 1],
        [second, 1],
      ],
      [[first, 2]],
      [[first, 3]],
    ]);
  });

  test('writes at most five hundred at once', async ({ db }) => {
    const { batcher, batches } = aBatcher(db, async (batch) => await Promise.resolve(batch.map(nobody)));

    await Promise.all(
      Array.from({ length: 1200 }, (_, index) => batcher.add({ agentId: `ag-${index}`, report: aReport() })),
    );

    expect(batches.map((batch) => batch.length)).toEqual([500, 500, 200]);
  });

  test('tells all callers of a batch that could not be written, and writes the next one', async ({ db }) => {
    const agents = await someAgents(db, 3);
    let failures = 1;
    const { batcher } = aBatcher(db, async (batch, real) => {
      failures -= 1;
      if (failures >= 0) throw new Error('the database is away');
      return await real(batch, LEASE_MS);
    });

    const lost = await Promise.allSettled(agents.map((id) => batcher.add({ agentId: id, report: aReport() })));

    expect(lost.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(await batcher.add({ agentId: agents[0]!, report: aReport() })).toMatchObject({ kind: 'accepted' });
  });

  test('goes on with what came in while it wrote', async ({ db }) => {
    const agents = await someAgents(db, 2);
    const late: Promise<ReportResult>[] = [];
    const made = aBatcher(db, async (batch, real) => {
      if (late.length === 0) late.push(made.batcher.add({ agentId: agents[1]!, report: aReport() }));
      return await real(batch, LEASE_MS);
    });

    expect(await made.batcher.add({ agentId: agents[0]!, report: aReport() })).toMatchObject({ kind: 'accepted' });
    expect(await Promise.all(late)).toMatchObject([{ kind: 'accepted', agentId: agents[1] }]);
    expect(made.batches).toHaveLength(2);
  });

  test('leaves no caller waiting when a result is missing', async ({ db }) => {
    const [agentId] = await someAgents(db, 1);
    const { batcher } = aBatcher(db, async () => await Promise.resolve([]));

    await expect(batcher.add({ agentId: agentId!, report: aReport() })).rejects.toThrow(
      /bug: an item of a batch has no result/,
    );
  });
});

function nobody({ agentId }: ReportOf): ReportResult {
  const nothing = { held: [], ended: [], foreign: [], lost: [], leave: false, waitingMachineId: null };
  return { agentId, kind: 'unknown-agent', cordoned: false, cordonGeneration: 0, ...nothing };
}
