import type { MachineState } from '../../src/model/machine.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { onlyInstanceId } from '../support/world-rows.ts';
import type { World } from '../support/world.ts';
import type { Scenario } from './transition-scenarios.ts';

const MINUTE = 60_000;
const HOLD = 'hold-on';

type Forgotten = 'ready' | 'draining' | 'leaving';

/** Stopped and started again, and the database has lost all commits of that. */
async function restartInLostTime(world: World): Promise<void> {
  await world.stores.memory.declare({ reason: 'lost-lease', evidence: {} });
  const InstanceIds = [await onlyInstanceId(world)];
  world.region.perform('StopInstances', { InstanceIds });
  const isStopped = (): boolean => world.region.findInstance(InstanceIds[0] ?? '')?.state === 'stopped';
  await world.runUntil('it is stopped', isStopped, 10 * MINUTE);
  world.region.perform('StartInstances', { InstanceIds });
}

async function untilThere(world: World, state: MachineState): Promise<void> {
  world.hosts.manners.exits.set(HOLD, 1);
  await world.submit(1, 10);
  await world.runUntil(`a machine is ${state}`, async () => (await world.count('machines', state)) > 0, 20 * MINUTE);
}

const scenarioOf = (from: Forgotten): Scenario => ({
  policy: worldPolicy({
    limits: { max: 1 },
    drain: {
      scaleDownUnneededMs: 20_000,
      hooks: { beforeDrain: null, beforeTerminate: HOLD, ...(from === 'draining' ? { health: HOLD } : {}) },
    },
  }),
  reach: async (world) => await untilThere(world, from),
  provoke: restartInLostTime,
  calm: (world) => world.hosts.manners.exits.clear(),
  record: {
    site: 'machines.transition',
    matches: ([machine, transition]) =>
      (machine as { readonly state: string }).state === from &&
      (transition as { readonly to: string }).to === 'booting',
  },
  effect: { at: { site: 'cloud.listInstances' }, precedes: true },
});

/** The ways back to `booting` of machines that lost commits had stopped and started. */
export const FORGOTTEN: Readonly<Record<`${Forgotten}>booting`, Scenario>> = {
  'ready>booting': scenarioOf('ready'),
  'draining>booting': scenarioOf('draining'),
  'leaving>booting': scenarioOf('leaving'),
};
