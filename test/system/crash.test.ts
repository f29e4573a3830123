import { describe, expect, test } from 'vitest';

import { SCENARIO, TASK_COMMAND } from '../../examples/demo/scenario.ts';
import { Stack } from '../../examples/demo/stack.ts';
import { findBrokenPromises, glance, isOver, summarise, type Glance } from '../../examples/demo/watch.ts';
import { until } from '../support/wait.ts';

interface RegionInstance {
  readonly instanceId: string;
  readonly clientToken: string;
  readonly state: string;
}

/**
 * The whole demo with real processes, and a service that is killed with SIGKILL again and again: while launches are in the
 * air, while machines join, while tasks run on them, while they drain. Only what the region itself says counts at the end.
 */
describe('a service that is killed at any moment', () => {
  const moments: readonly (readonly [string, (now: Glance) => boolean])[] = [
    ['as soon as machines are asked for', ({ machines }) => machines.length > 0],
    ['while machines join', ({ machines }) => machines.some(({ state }) => state === 'joining' || state === 'ready')],
    ['while tasks run in the cloud', ({ status }) => cloudIsBusy(status)],
    [
      'while machines leave',
      ({ machines }) => machines.some(({ state }) => state === 'draining' || state === 'terminating'),
    ],
  ];

  test('launches nothing twice, leaks nothing and loses no task', { timeout: 240_000 }, async () => {
    const stack = await Stack.create();
    let failed = true;
    try {
      await stack.startRegion();
      await stack.startService();
      await stack.startAgents();
      await stack.client.post('TaskReceipt', '/v1/tasks', {
        workload: SCENARIO.workload,
        command: TASK_COMMAND,
        count: SCENARIO.tasks,
      });
      for (const [moment, hasCome] of moments) {
        await until(moment, async () => hasCome(await glance(stack)), { deadlineMs: 60_000 });
        await stack.crashService();
        await stack.launchService();
      }
      await until('the wave is over and every machine is gone', async () => isOver(await glance(stack)), {
        deadlineMs: 120_000,
      });
      // The last charges are written a few seconds after the last machine is gone.
      await expect.poll(async () => findBrokenPromises(await summarise(stack, 0)), { timeout: 20_000 }).toEqual([]);

      const summary = await summarise(stack, 0);
      expect(summary).toMatchObject({ tasks: { done: SCENARIO.tasks, lost: 0 }, machines: { leaked: 0 } });
      // One token is one launch; the region keeps every instance it ever made.
      const { instances } = await stack.askRegion<{ instances: readonly RegionInstance[] }>('instances');
      const { machines } = await glance(stack);
      expect(instances.map(({ instanceId }) => instanceId).toSorted()).toEqual(
        machines.flatMap(({ instanceId }) => (instanceId === null ? [] : [instanceId])).toSorted(),
      );
      failed = false;
    } finally {
      await stack.stop(failed);
    }
  });
});

function cloudIsBusy(status: Glance['status']): boolean {
  return status.layers.some(({ layer, allocated }) => layer === 'cloud' && allocated.cpuMilli > 0);
}
