import { describe, expect, test } from 'vitest';

import type { Stack } from '../../examples/demo/stack.ts';
import { glance, type Glance } from '../../examples/demo/watch.ts';
import { until } from '../support/wait.ts';
import { surviveWave } from './wave.ts';

interface RegionInstance {
  readonly instanceId: string;
}

/**
 * The whole demo with real processes, and a service that is killed with SIGKILL again and again: while launches are in the
 * air, while machines join, while tasks run on them, while they drain. Only what the region itself says counts at the end.
 */
describe('a service that is killed at any moment', () => {
  const moments: readonly (readonly [string, (now: Glance) => boolean])[] = [
    ['machines are asked for', ({ machines }) => machines.length > 0],
    ['machines join', ({ machines }) => machines.some(({ state }) => state === 'joining' || state === 'ready')],
    ['tasks run in the cloud', ({ status }) => cloudIsBusy(status)],
    ['machines leave', ({ machines }) => machines.some(({ state }) => state === 'draining' || state === 'terminating')],
  ];

  test('launches nothing twice, leaks nothing and loses no task', { timeout: 240_000 }, async () => {
    const trouble = async (stack: Stack): Promise<void> => {
      for (const [moment, hasCome] of moments) {
        await until(moment, async () => hasCome(await glance(stack)), { deadlineMs: 60_000 });
        await stack.crashService();
        await stack.launchService();
      }
    };
    // The region keeps every instance it ever made: each must be one that a row stands for, and none a second time.
    const afterwards = async (stack: Stack): Promise<void> => {
      const { instances } = await stack.askRegion<{ instances: readonly RegionInstance[] }>('instances');
      const { machines } = await glance(stack);
      const bound = machines.flatMap(({ instanceId }) => (instanceId === null ? [] : [instanceId]));
      expect(instances.map(({ instanceId }) => instanceId).toSorted()).toEqual(bound.toSorted());
    };
    await surviveWave(trouble, { afterwards });
  });
});

function cloudIsBusy(status: Glance['status']): boolean {
  return status.layers.some(({ layer, allocated }) => layer === 'cloud' && allocated.cpuMilli > 0);
}
