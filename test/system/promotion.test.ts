import { describe, expect, test } from 'vitest';

import { loseCommits } from '../outside/lose-commits.ts';
import { redisProgram } from '../support/redis.ts';

const DEADLINE_MS = 300_000;

/**
 * A real standby that lacks the primary's last commits takes over, while the region has what those commits had asked for. A
 * service that did not notice would take its own machines for orphans, might launch them once more, and would have forgotten which
 * tasks run.
 */
describe.skipIf(redisProgram === null)('a database that lost its last commits', () => {
  test(
    'makes nobody launch twice, kill at work or run a task twice; its rows come back, and then its machines leave',
    { timeout: DEADLINE_MS + 60_000 },
    async ({ onTestFailed }) => {
      const told: string[] = [];
      onTestFailed(() => void process.stderr.write(`${told.join('\n')}\n`));
      const outcome = await loseCommits({
        signal: AbortSignal.timeout(DEADLINE_MS),
        progress: (text) => told.push(text),
      });
      expect(outcome.lost.launches).toBeGreaterThan(0);
      expect(outcome.amnesia).toEqual({ rebuilt: outcome.lost.instances, endedMeanwhile: 0 });
      expect(outcome.violations).toEqual([]);
    },
  );
});
