/** At least a hundred SIGKILLs, leaders that stand still, an empty Redis, a crashed Postgres: what is left, and how soon all is well. */
import { survive as letBlowsFall } from '../test/outside/survive.ts';
import { makeFigure, type Bench } from './support/bench.ts';
import { describeMachine } from './support/machine.ts';

const SEED = 20_261_122;
const ORDERS = { kills: 100, stops: 3, redisRestarts: 5, postgresRestarts: 5, tasks: 600, pauseMsMax: 2_500 };

export const survive: Bench = {
  name: 'survive',
  about: 'two services under at least 100 SIGKILLs and other blows; what the region and the tasks saw of it',
  async run({ signal, progress }) {
    progress(`seed ${SEED}`);
    const { violations, blows, ...saw } = await letBlowsFall({ ...ORDERS, seed: SEED }, { signal, progress });
    for (const sentence of violations) progress(`BROKEN: ${sentence}`);
    const detail =
      `seed ${SEED}; ${blows.kills} SIGKILLs, ${blows.stops} leaders stopped past their lease, Redis emptied ${blows.redisRestarts} times, ` +
      `Postgres crashed ${blows.postgresRestarts} times; ${saw.tasks} tasks in ${saw.runs} runs, ${saw.instances} instances, bill ${saw.billUsd} USD; ${describeMachine()}`;
    return [
      makeFigure('survive', 'broken-promises', violations.length, '', detail),
      makeFigure('survive', 'kills', blows.kills, '', detail),
      makeFigure('survive', 'runs-per-task', saw.runs / saw.tasks, '', detail),
      makeFigure(
        'survive',
        'quiet-after',
        saw.quietAfterS,
        's',
        `last blow to every task done and every machine gone; ${detail}`,
      ),
    ];
  },
};
