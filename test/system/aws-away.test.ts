import { describe, expect, test } from 'vitest';

import { SCENARIO } from '../../examples/demo/scenario.ts';
import { Stack } from '../../examples/demo/stack.ts';
import type { PlanOutcome } from '../../src/planner/types.ts';
import type { ServiceHealth } from '../../src/ports/operator.ts';
import { until } from '../support/wait.ts';

/** A service must hold and say so when AWS is not to be had; it must not stop, and not guess. */
describe('a running service that EC2', () => {
  test.each<[string, Record<string, string>, RegExp]>([
    ['refuses for its credentials', { AWS_SECRET_ACCESS_KEY: 'wrong' }, /credential|signature|access key|refus/i],
    ['does not answer', { AWS_ENDPOINT_URL_EC2: 'http://127.0.0.1:1' }, /reach|answer|connect/i],
  ])('%s holds, and says why', { timeout: 90_000 }, async (_, settings, sentence) => {
    const stack = await Stack.create(settings);
    try {
      await stack.startRegion();
      await stack.startService();
      await stack.client.post('TaskReceipt', '/v1/tasks', { workload: SCENARIO.workload, command: ['true'], count: 1 });
      const sweep = await until(
        'the sweep has failed',
        async () => {
          const { service } = await stack.client.get<{ service: ServiceHealth }>('Status', '/v1/status');
          return service.checks.find(({ name, state }) => name === 'sweep' && state === 'failing');
        },
        { deadlineMs: 60_000 },
      );
      expect(sweep.detail).toMatch(sentence);
      const plan = await stack.client.get<PlanOutcome>('Plan', '/v1/plan');
      expect(plan.workloads[0]?.actions).toEqual([]);
      expect(plan.workloads[0]?.report.reasons.map(({ code }) => code)).toContain('offerings-unknown');
    } finally {
      await stack.stop(false);
    }
  });
});
