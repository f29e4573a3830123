import { describe, expect, test } from 'vitest';

import { survive } from '../outside/survive.ts';
import { redisProgram } from '../support/redis.ts';

/** Another one is another order of blows at other moments; a run that broke a promise is repeated by its seed. */
const SEED = Number(process.env['SPILLWAY_TEST_SEED'] ?? 20_261_122);
/** Whatever hangs is ended and told by then; a run takes about 90 s. */
const DEADLINE_MS = 420_000;

/**
 * Two real services on real Postgres and Redis, a region that is a process of its own, real agents: all of it is killed, stopped,
 * emptied and restarted at random moments while waves of tasks flow. Judged is what the region saw (its list, its history, its bill)
 * and what the tasks noted in diaries of their own; see test/outside.
 */
describe.skipIf(redisProgram === null)('two services that are killed at random moments', () => {
  test(
    'launch nothing twice, leak nothing, end nothing at work, lose no task and count every cent',
    {
      timeout: DEADLINE_MS + 60_000,
    },
    async ({ onTestFailed }) => {
      const orders = {
        seed: SEED,
        kills: 30,
        stops: 1,
        redisRestarts: 2,
        postgresRestarts: 2,
        tasks: 200,
        pauseMsMax: 2_500,
      };
      process.stderr.write(`survive: seed ${SEED} (SPILLWAY_TEST_SEED repeats it)\n`);
      const told: string[] = [];
      onTestFailed(() => void process.stderr.write(`${told.join('\n')}\n`));
      const survived = await survive(orders, {
        signal: AbortSignal.timeout(DEADLINE_MS),
        progress: (text) => told.push(text),
      });
      expect(survived.violations).toEqual([]);
      expect(survived.blows).toMatchObject({ stops: 1, redisRestarts: 2, postgresRestarts: 2 });
      expect(survived.blows.kills).toBeGreaterThanOrEqual(30);
      // Else the blows fell on nothing.
      expect(survived.instances).toBeGreaterThan(3);
      expect(survived.tasks).toBeGreaterThanOrEqual(200);
    },
  );
});
