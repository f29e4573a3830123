import { expect } from 'vitest';

import { SCENARIO, TASK_COMMAND } from '../../examples/demo/scenario.ts';
import { Stack } from '../../examples/demo/stack.ts';
import { findBrokenPromises, glance, isOver, summarise, type Summary } from '../../examples/demo/watch.ts';
import { until } from '../support/wait.ts';

/**
 * Starts the demo's whole stack of real processes, submits its wave, lets `trouble` happen, and waits until the wave is over
 * and everything the demo promises holds. `afterwards` may look at what is left before it is stopped. When something fails, the
 * folder with the logs is kept.
 */
export async function surviveWave(
  trouble: (stack: Stack) => Promise<void>,
  options: {
    /** As many as in the demo unless said. */
    readonly tasks?: number;
    readonly settings?: Readonly<Record<string, string>>;
    readonly afterwards?: (stack: Stack) => Promise<void>;
  } = {},
): Promise<Summary> {
  const stack = await Stack.create(options.settings);
  const count = options.tasks ?? SCENARIO.tasks;
  let failed = true;
  try {
    await stack.startRegion();
    await stack.startService();
    await stack.startAgents();
    const wave = { workload: SCENARIO.workload, command: TASK_COMMAND, count };
    await stack.client.post('TaskReceipt', '/v1/tasks', wave);
    await trouble(stack);
    await until('the wave is over and every machine is gone', async () => isOver(await glance(stack)), {
      deadlineMs: 120_000,
      everyMs: 200,
    });
    // The last charges are written a few seconds after the last machine is gone.
    await expect
      .poll(async () => findBrokenPromises(await summarise(stack, 0, count)), { timeout: 20_000 })
      .toEqual([]);
    await options.afterwards?.(stack);
    failed = false;
    return await summarise(stack, 0, count);
  } finally {
    await stack.stop(failed);
  }
}
