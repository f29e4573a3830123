import { describe, expect, test } from 'vitest';

import { loseCommits } from '../outside/lose-commits.ts';
import { redisProgram } from '../support/redis.ts';

const DEADLINE_MS = 300_000;

/**
 * A real standby that lacks the primary's last commits takes over, while the region has what those commits had asked for. A
 * service that does not notice takes its own machines for orphans, may launch them once more, and has forgotten which tasks run:
 * so this is switched on (SPILLWAY_TEST_AMNESIA=1) where a service is to notice.
 */
describe.skipIf(redisProgram === null || process.env['SPILLWAY_TEST_AMNESIA'] !== '1')(
  'a database that lost its last commits',
  () => {
    test(
      'makes nobody launch twice, kill at work or run a task twice',
      { timeout: DEADLINE_MS + 60_000 },
      async ({ onTestFailed }) => {
        const told: string[] = [];
        onTestFailed(() => void process.stderr.write(`${told.join('\n')}\n`));
        const outcome = await loseCommits({
          signal: AbortSignal.timeout(DEADLINE_MS),
          progress: (text) => told.push(text),
        });
        expect(outcome.lost.launches).toBeGreaterThan(0);
        expect(outcome.violations).toEqual([]);
      },
    );
  },
);
