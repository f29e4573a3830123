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
    if (violations.length > 0) throw new Error(`seed ${SEED} broke promises:\n${violations.join('\n')}`);
    const detail =
      `seed ${SEED}; ${blows.kills} SIGKILLs, ${blows.stops} leaders stopped past their lease, Redis emptied ${blows.redisRestarts} times, ` +
      `Postgres crashed ${blows.postgresRestarts} times; ${saw.tasks} tasks, all done, in ${saw.runs} runs; ${saw.instances} instances, none ` +
      `launched twice, left behind or ended at work; bill and cost report ${Number(saw.billUsd).toFixed(4)} USD; all quiet ` +
      `${saw.quietAfterS.toFixed(1)} s after the last blow; ${describeMachine()}`;
    return [makeFigure('survive', 'kills', blows.kills, 'SIGKILLs', detail)];
  },
};
