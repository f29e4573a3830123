import { holdKeysOf, holdKeyText, joinHoldKey } from '../model/holds.ts';
import type { LaunchId } from '../model/ids.ts';
import type { LadderRung, LaunchLimits } from '../model/launch.ts';
import { bodyOfRung } from '../model/launch.ts';
import type { MoveOutcome, NextAttempt } from '../ports/machines.ts';
import { dbNow, type Tx } from './database.ts';
import { setOffering } from './launch-fulfil.ts';
import { listHolds } from './launch-holds.ts';
import { brokenLimit, lockMoney, readLive, type LiveSums } from './launch-room.ts';
import {
  countUnsettled,
  endAttempt,
  endLaunch,
  LAUNCH_ACTOR,
  lockMachines,
  lockOpenLaunch,
  type OpenLaunch,
} from './launch-rows.ts';
import { writeMachineEvent } from './machine-events.ts';
import type { MachineRow } from './machine-rows.ts';

/**
 * See `LaunchStore.moveOn`. One transaction: the old attempt's end, the new one's token and body, the machines' offering and
 * the money. The plan chose the rungs; nothing is decided here but whether a rung still fits.
 */
export async function moveOn(
  tx: Tx,
  id: LaunchId,
  { attempt, next }: { readonly attempt: number; readonly next: NextAttempt },
): Promise<MoveOutcome> {
  const launch = await lockOpenLaunch(tx, id);
  if (launch === null || launch.attempt !== attempt) return 'lost';
  if (!next.settlesCalls && (await countUnsettled(tx, id, attempt)) > 0) return 'unsettled';
  const waiting = (await lockMachines(tx, id)).filter((row) => row.instance_id === null && row.state !== 'terminated');
  const at =
    next.limits === null || launch.overdue
      ? -1
      : await findRung(tx, { id, launch, count: waiting.length }, next.limits);
  const rung = launch.ladder[at];
  if (rung === undefined || waiting.length === 0) {
    await endLaunch(tx, { id, attempt }, 'refused', { reason: 'launch-refused', ...next.refusal });
    return 'exhausted';
  }
  await endAttempt(tx, { id, attempt }, 'refused', next.refusal);
  const body = { ...bodyOfRung(launch.body, rung), count: waiting.length };
  const { zone, resources, arch } = rung;
  const priceUsdPerHour = rung.priceUsdPerHour.toFixed(6);
  await tx
    .updateTable('launches')
    .set({
      attempt: attempt + 1,
      token: next.token,
      body: JSON.stringify(body),
      zone,
      cpu_milli: resources.cpuMilli,
      memory_mib: resources.memoryMib,
      gpus: resources.gpus,
      arch,
      price_usd_per_hour: priceUsdPerHour,
      // Rungs above the chosen one were passed over for good: they were held or too dear a moment ago.
      ladder: JSON.stringify(launch.ladder.slice(at + 1)),
      wake_at: dbNow(),
    })
    .where('id', '=', id)
    .execute();
  const ids = waiting.map((row) => row.id);
  await setOffering(tx, ids, { body, zone, resources, arch, priceUsdPerHour });
  for (const row of waiting) await tellMove(tx, row, { rung, next, attempt });
  return 'moved';
}

interface Waiting {
  readonly id: LaunchId;
  readonly launch: OpenLaunch;
  readonly count: number;
}

/** Index of the first rung that is neither held nor beyond a limit; -1 = none. */
async function findRung(tx: Tx, { id, launch, count }: Waiting, limits: LaunchLimits): Promise<number> {
  await lockMoney(tx, launch.workload);
  const others = await readLive(tx, launch.workload, id);
  const held = new Set((await listHolds(tx, id)).map(holdKeyText));
  if (held.has(holdKeyText({ scope: 'workload', name: launch.workload }))) return -1;
  return launch.ladder.findIndex((rung) => {
    const join = joinHoldKey({ ...rung, workload: launch.workload });
    const keys = [...holdKeysOf({ ...rung, region: launch.body.region }), join].map(holdKeyText);
    // What is half-open is for a probe that the planner sends, one machine at a time.
    return !keys.some((key) => held.has(key)) && brokenLimit(withRung(others, rung, count), limits) === null;
  });
}

function withRung(others: LiveSums, rung: LadderRung, count: number): LiveSums {
  return {
    machines: others.machines + count,
    vcpus: others.vcpus + (count * rung.resources.cpuMilli) / 1000,
    usdPerHour: others.usdPerHour + count * rung.priceUsdPerHour,
  };
}

async function tellMove(
  tx: Tx,
  row: MachineRow,
  { rung, next, attempt }: { readonly rung: LadderRung; readonly next: NextAttempt; readonly attempt: number },
): Promise<void> {
  const { instanceType, zone, market } = rung;
  await writeMachineEvent(tx, {
    machineId: row.id,
    from: row.state,
    to: row.state,
    actor: LAUNCH_ACTOR,
    reason: 'next-offering',
    detail: { attempt: attempt + 1, instanceType, zone, market, refused: next.refusal.code },
  });
}
