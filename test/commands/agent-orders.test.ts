import { userInfo } from 'node:os';
import { describe } from 'vitest';
import type { OperatorActions } from '../../src/ports/operator.ts';
import { createAgentOrdering } from '../../src/store/agent-orders.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import { receiptOf } from '../../src/wiring/agent-receipt.ts';
import { anAgent, aReport, aTask } from '../support/builders.ts';
import { ids, seedFleet } from '../store/reports-fleet.ts';
import { until } from '../support/wait.ts';
import { test } from './spillway.ts';

describe('agent', () => {
  test('show tells what one offers and holds, by name or id, in a form for scripts too', async ({
    db,
    service,
    expect,
  }) => {
    await seedFleet(db);
    const run = await service.run('agent', 'show', 'rack-1');
    expect(run).toMatchObject({ exitCode: 0, stderr: '' });
    expect(run.stdout).toMatch(/^ID {2,}ag-/m);
    expect(run.stdout).toMatch(/^Site {2,}on-prem$/m);
    expect(run.stdout).toMatch(new RegExp(`^Tasks {2,}.*${ids.running} \\(transcode, running\\)`, 'm'));
    const { agent } = JSON.parse((await service.run('agent', 'show', 'rack-1', '-o', 'json')).stdout) as {
      agent: Record<string, unknown>;
    };
    expect(agent).toMatchObject({ name: 'rack-1', otherTasks: 0, rebalanceNoticedAt: null });
    expect(await service.run('agent', 'show', 'nobody')).toMatchObject({ exitCode: 3, stdout: '' });
  });

  test('cordon, uncordon and remove give each named agent the order, once', async ({ service, expect }) => {
    const id = 'ag-000000000001';
    expect(await service.run('agent', 'cordon', 'rack-1', 'rack 2/a', 'rack-1')).toEqual({
      exitCode: 0,
      stdout: `AGENT\tID\tRESULT\nrack-1\t${id}\tcordoned\nrack 2/a\t${id}\tcordoned\n`,
      stderr: '',
    });
    expect((await service.run('agent', 'uncordon', '-o', 'name', 'rack-1')).stdout).toBe(`${id}\n`);
    expect((await service.run('agent', 'remove', 'rack-1')).exitCode).toBe(0);
    expect((await service.run('agent', 'remove', '--force', 'rack-1')).exitCode).toBe(0);
    expect(service.api.agentOrders).toEqual([
      { agent: 'rack-1', cordoned: true },
      { agent: 'rack 2/a', cordoned: true },
      { agent: 'rack-1', cordoned: false },
      { agent: 'rack-1', force: false },
      { agent: 'rack-1', force: true },
    ]);
  });

  describe('orders over a real database', () => {
    const real = test.extend<{ actions: Partial<OperatorActions> }>({
      actions: async ({ db }, use) => {
        const ordering = createAgentOrdering(db);
        await use({
          cordonAgent: async (who, order, orderer) => receiptOf(who, await ordering.setCordon(who, order, orderer)),
          removeAgent: async (who, force, orderer) => receiptOf(who, await ordering.remove(who, force, orderer)),
        });
      },
    });

    real(
      'one that holds tasks is not removed, which keeps no other from it, and ends with 5',
      async ({ db, service, expect }) => {
        const [busy, idle] = [await anAgent(db, { name: 'busy' }), await anAgent(db, { name: 'idle' })];
        await aTask(db, { state: 'running', agentId: busy });
        const run = await service.run('agent', 'remove', 'busy', 'idle');
        expect(run.exitCode).toBe(5);
        expect(run.stdout).toBe(`AGENT\tID\tRESULT\nidle\t${idle}\tremoved\n`);
        expect(run.stderr).toContain('error: agent busy holds tasks (REFUSED)');
        expect(await service.run('agent', 'cordon', 'idle')).toMatchObject({ exitCode: 3 });
      },
    );

    real('are told by show and explain, with who gave them and why, and as JSON', async ({ db, service, expect }) => {
      await anAgent(db, { name: 'rack-1' });
      await service.run('agent', 'drain', 'rack-1', '--reason', 'a new\u001b disk');
      await service.run('agent', 'uncordon', 'rack-1');
      await service.run('agent', 'remove', 'rack-1', '--reason', 'sold');
      const actor = userInfo().username;
      const told = [
        `cordoned for a drain by ${actor}: a new\\x1b disk`,
        `uncordoned by ${actor}`,
        `removed by ${actor}: sold`,
      ];
      for (const noun of ['agent show', 'explain agent']) {
        const { stdout } = await service.run(...noun.split(' '), 'rack-1');
        for (const sentence of told)
          expect(stdout).toMatch(new RegExp(`Z {2}${sentence.replaceAll('\\', '\\\\')}$`, 'm'));
        const { events } = JSON.parse((await service.run(...noun.split(' '), 'rack-1', '-o', 'json')).stdout) as {
          events: unknown[];
        };
        expect(events).toMatchObject([
          { event: 'drain', actor, reason: 'a new\u001b disk' },
          { event: 'uncordon', actor, reason: null },
          { event: 'remove', actor, reason: 'sold', detail: { force: false } },
        ]);
      }
    });

    real(
      'drain --wait ends when the agent has said so and nothing runs, and with 7 when that takes too long',
      async ({ db, service, expect }) => {
        const agentId = await anAgent(db, { name: 'rack-1' });
        const taskId = await aTask(db, { state: 'running', agentId });
        const late = await service.run('agent', 'drain', '--wait', '--timeout', '1s', 'rack-1');
        expect(late.exitCode).toBe(7);
        expect(late.stderr).toContain('has not yet said that it takes no new tasks');

        const draining = service.start('agent', 'drain', '--wait', 'rack-1');
        const agents = createAgentStore(db);
        const cordon = { cordoned: true, generation: 1 };
        const task = { taskId, attempt: 1, progressBase64: null };
        const busy = aReport({ seq: 1, cordon, tasks: [{ ...task, state: 'running' }] });
        await agents.writeReports([{ agentId, report: busy }], 60_000);
        await until('it tells what it waits for', () => draining.output().stderr.includes('1 task runs'));
        expect(draining.output().exitCode).toBeNull();
        const done = aReport({ seq: 2, cordon, tasks: [{ ...task, state: 'exited', exitCode: 0 }] });
        await agents.writeReports([{ agentId, report: done }], 60_000);
        expect(await draining.finished).toMatchObject({ exitCode: 0 });
      },
    );
  });
});
