import { describe, expect } from 'vitest';
import { createPlanningStore } from '../../src/store/planning.ts';
import { createTaskStore } from '../../src/store/tasks.ts';
import { aMachine, anAgent, aPolicy, aTask } from '../support/builders.ts';
import { test } from '../support/database.ts';

describe('what workloads hold of local agents', () => {
  test('is what their leased and running tasks have there, and nothing in the cloud', async ({ db }) => {
    const local = await anAgent(db, { capacity: { cpuMilli: 8000, memoryMib: 16_384, gpus: 2 } });
    await anAgent(db, { removed: true });
    const { agentId: inCloud } = await aMachine(db, 'ready');
    const of = (workload: string, agentId: typeof local, state: 'leased' | 'running') =>
      aTask(db, { workload, agentId, state, shape: { cpuMilli: 1500, memoryMib: 512, gpus: 1 } });
    await of('a', local, 'running');
    await of('a', local, 'leased');
    await of('b', inCloud!, 'running');
    await aTask(db, { workload: 'b' });
    await aTask(db, { workload: 'b', agentId: local, state: 'done' });

    const held = { cpuMilli: 3000, memoryMib: 1024, gpus: 2 };
    expect(await createTaskStore(db).readLocalShares()).toEqual({
      capacity: { cpuMilli: 8000, memoryMib: 16_384, gpus: 2 },
      held: new Map([['a', held]]),
    });
    const { workloads } = await createPlanningStore(db).readFacts([aPolicy({ name: 'a' }), aPolicy({ name: 'b' })]);
    expect(workloads.get('a')?.heldLocally).toEqual(held);
    expect(workloads.get('b')?.heldLocally).toBeUndefined();
  });

  test('is nothing of nothing in an empty datacenter', async ({ db }) => {
    const capacity = { cpuMilli: 0, memoryMib: 0, gpus: 0 };
    expect(await createTaskStore(db).readLocalShares()).toEqual({ capacity, held: new Map() });
  });
});
