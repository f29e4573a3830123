import { holdKeysOf } from '../model/holds.ts';
import type { LaunchId, MachineId } from '../model/ids.ts';
import type { LaunchBody } from '../model/launch.ts';
import type { Resources } from '../model/resources.ts';
import type { BoundInstance } from '../ports/machines.ts';
import type { Tx } from './database.ts';
import { forgetHolds } from './launch-holds.ts';
import {
  countUnsettled,
  endAttempt,
  endWithoutInstance,
  LAUNCH_ACTOR,
  lockMachines,
  lockOpenLaunch,
  setLaunchState,
} from './launch-rows.ts';
import { toMachine, type MachineRow } from './machine-rows.ts';
import { transitionMachine } from './machines.ts';

const OVERTAKEN = {
  errorClass: 'ended',
  code: 'EarlierAttempt',
  detail: 'instances of an earlier attempt appeared and were taken instead',
} as const;

/** See `LaunchStore.fulfil`. */
export async function fulfilLaunch(
  tx: Tx,
  id: LaunchId,
  { attempt, instances }: { readonly attempt: number; readonly instances: readonly BoundInstance[] },
): Promise<readonly MachineId[]> {
  const launch = await lockOpenLaunch(tx, id);
  if (launch === null) return [];
  const isLate = attempt !== launch.attempt;
  // Both attempts would fill the machines: the current one's answer decides first, and what is left over is ended by id.
  if (isLate && (await countUnsettled(tx, id, launch.attempt)) > 0) return [];
  const asked = await readAttempt(tx, id, attempt);
  if (asked === null) return [];
  const rows = await lockMachines(tx, id);
  const bound = new Set(rows.map((row) => row.instance_id));
  // By id, because an instance told twice would be bound twice.
  const told = new Map(instances.map((instance) => [instance.instanceId, instance]));
  const fresh = [...told.values()].filter((instance) => !bound.has(instance.instanceId));
  const waiting = rows.filter(
    (row) => row.instance_id === null && (row.state === 'launching' || row.state === 'requested'),
  );
  const woken: MachineId[] = [];
  for (const [index, row] of waiting.entries()) {
    const instance = fresh[index];
    if (instance === undefined) {
      await endWithoutInstance(tx, row, 'launch-refused', 'EC2 gave fewer instances than asked for');
      continue;
    }
    if (isLate) await setOffering(tx, [row.id], asked);
    await bindInstance(tx, row, instance);
    woken.push(row.id as MachineId);
  }
  await setLaunchState(tx, id, 'fulfilled');
  await endAttempt(tx, { id, attempt }, woken.length < waiting.length ? 'partial' : 'fulfilled', null);
  if (isLate) await endAttempt(tx, { id, attempt: launch.attempt }, 'refused', OVERTAKEN);
  await forgetHolds(tx, id, [
    ...holdKeysOf({ ...asked.body, zone: asked.zone }),
    { scope: 'workload', name: launch.workload },
  ]);
  return woken;
}

interface Asked {
  readonly body: LaunchBody;
  readonly zone: string;
  /** Null in rows from before ladders: the machines show what was asked for. */
  readonly resources: Resources | null;
  readonly arch: string | null;
  readonly priceUsdPerHour: string;
}

async function readAttempt(tx: Tx, id: LaunchId, attempt: number): Promise<Asked | null> {
  const row = await tx
    .selectFrom('launch_attempts')
    .select(['body', 'zone', 'cpu_milli', 'memory_mib', 'gpus', 'arch', 'price_usd_per_hour'])
    .where('launch_id', '=', id)
    .where('attempt', '=', attempt)
    .executeTakeFirst();
  if (row === undefined) return null;
  const { cpu_milli: cpuMilli, memory_mib: memoryMib, gpus, arch } = row;
  return {
    body: row.body as LaunchBody,
    zone: row.zone,
    resources: cpuMilli === null || memoryMib === null ? null : { cpuMilli, memoryMib, gpus },
    arch,
    priceUsdPerHour: row.price_usd_per_hour,
  };
}

/** The machines become what this attempt asks for; they have no instance yet. */
export async function setOffering(tx: Tx, machineIds: readonly string[], asked: Asked): Promise<void> {
  await tx
    .updateTable('machines')
    .set({
      instance_type: asked.body.instanceType,
      zone: asked.zone,
      market: asked.body.market,
      volume_gib: asked.body.volumeGib,
      price_usd_per_hour: asked.priceUsdPerHour,
      arch: asked.arch,
      ...(asked.resources !== null && {
        cpu_milli: asked.resources.cpuMilli,
        memory_mib: asked.resources.memoryMib,
        gpus: asked.resources.gpus,
      }),
    })
    .where('id', 'in', [...machineIds])
    .where('instance_id', 'is', null)
    .execute();
}

async function bindInstance(tx: Tx, row: MachineRow, instance: BoundInstance): Promise<void> {
  await tx
    .updateTable('machines')
    .set({
      instance_id: instance.instanceId,
      private_ip: instance.privateIp,
      launch_time: instance.launchTimeMs === null ? null : new Date(instance.launchTimeMs),
      run_launch_time: instance.launchTimeMs === null ? null : new Date(instance.launchTimeMs),
    })
    .where('id', '=', row.id)
    .execute();
  const machine = toMachine(row);
  const launching = machine.state === 'requested' ? await viaLaunching(tx, row) : machine;
  await transitionMachine(tx, launching, {
    to: 'booting',
    actor: LAUNCH_ACTOR,
    reason: 'instance-launched',
    detail: { instanceId: instance.instanceId, zone: instance.zone },
  });
}

/** An instance may be adopted before the row of its call was written: the machine then passes `launching` on the way. */
async function viaLaunching(tx: Tx, row: MachineRow): Promise<ReturnType<typeof toMachine>> {
  await transitionMachine(tx, toMachine(row), { to: 'launching', actor: LAUNCH_ACTOR, reason: 'adopted' });
  return toMachine({ ...row, state: 'launching', revision: row.revision + 1 });
}
