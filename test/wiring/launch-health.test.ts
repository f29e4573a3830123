import { describe, expect } from 'vitest';
import type { LaunchId } from '../../src/model/ids.ts';
import type { NewHold } from '../../src/ports/machines.ts';
import { operatorActionsOf } from '../support/operator-actions.ts';
import { aLaunch } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { World } from '../support/world.ts';

const HOLD: NewHold = {
  scope: 'offering',
  name: 'c5.large/us-east-1a/on-demand',
  errorClass: 'capacity',
  errorCode: 'InsufficientInstanceCapacity',
  detail: '',
  minMs: 180_000,
  maxMs: 180_000,
};

describe('the health of launches', () => {
  async function healthWith(world: World, holds: readonly NewHold[]) {
    const launchId: LaunchId = await aLaunch(world.db);
    for (const hold of holds) await world.stores.launches.hold(launchId, hold);
    const actions = operatorActionsOf(world);
    const { ready, checks } = await actions.health();
    return { ready, launches: checks.find(({ name }) => name === 'launches') };
  }

  test('is good while only capacity is short', async ({ pool }) => {
    const world = await World.create(pool);
    expect(await healthWith(world, [HOLD])).toMatchObject({ ready: true, launches: { state: 'ok', detail: '' } });
  });

  test('is bad when rights or quotas hold them back, and the service is ready all the same', async ({ pool }) => {
    const world = await World.create(pool);
    const quota: NewHold = { ...HOLD, scope: 'quota', name: 'us-east-1/standard/spot', errorClass: 'quota' };
    const health = await healthWith(world, [HOLD, { ...quota, errorCode: 'VcpuLimitExceeded' }]);
    expect(health).toMatchObject({
      ready: true,
      launches: { state: 'failing', detail: 'quota:us-east-1/standard/spot is held after VcpuLimitExceeded' },
    });
  });
});
