import type { LaunchId } from '../model/ids.ts';
import type { Launch } from '../model/launch.ts';
import { SECOND_MS } from '../model/time.ts';
import type { RunOutcome } from '../ports/cloud.ts';
import { again, DONE, type StepOutcome, type StepPorts } from './ports.ts';

/** After an unknown outcome or a throttle: soon enough to matter, slow enough for EC2's bucket of 2 calls a second. */
const RETRY_MS = 5 * SECOND_MS;
/** After a refusal that settles nothing, because an earlier call may have had an effect: its instances would show at any repetition. */
const UNSETTLED_RETRY_MS = 30 * SECOND_MS;
/** A call that is not signed within this time after its row was written is not made: a stopped process must not call late. */
const SIGN_WITHIN_MS = 20 * SECOND_MS;

/**
 * Carries one launch to `fulfilled`, `refused` or `expired`. Safe to run twice and at the same time: the row of the call
 * comes first, every repetition sends the same token and body, and EC2 answers a repeated token with the same instances.
 */
export async function stepLaunch(ports: StepPorts, id: LaunchId): Promise<StepOutcome> {
  const found = await ports.launches.read(id);
  if (found === null || found.launch.state !== 'open') return DONE;
  const { launch, nowMs } = found;
  if (nowMs >= launch.deadlineAtMs) {
    await ports.launches.close(id, 'expired', {
      reason: 'launch-expired',
      code: 'LAUNCH_DEADLINE',
      detail: 'EC2 gave no clear answer before the deadline; the sweeper looks for what may have come of it',
    });
    ports.log.warn({ launchId: id }, 'launch expired');
    return DONE;
  }
  const userData = ports.credentials.renderUserData(launch.nonce, launch.body);
  if (ports.credentials.sha256(userData) !== launch.body.userDataSha256) {
    // Another deployment key than the one the launch was made with: the token would not verify, the host key not match.
    return await refuse(ports, launch, 'CONFIG_KEY_FILE', 'the deployment key changed since the launch was committed');
  }
  const callId = await ports.launches.beginCall(id);
  if (callId === null) return DONE;
  if (callId === 'held') return again(jittered(ports, UNSETTLED_RETRY_MS));
  const outcome = await ports.cloud.runInstances({
    region: launch.body.region,
    token: launch.token,
    body: launch.body,
    userData,
    signBeforeMs: ports.clock.nowMs() + SIGN_WITHIN_MS,
  });
  await ports.launches.finishCall(callId, outcome);
  ports.meter.launchAttempted({
    outcome: outcome.kind,
    errorClass: outcome.kind === 'refused' ? outcome.errorClass : '',
  });
  return await settle(ports, launch, outcome);
}

async function settle(ports: StepPorts, launch: Launch, outcome: RunOutcome): Promise<StepOutcome> {
  switch (outcome.kind) {
    case 'launched': {
      await ports.launches.fulfil(launch.id, outcome.instances);
      ports.log.info(
        { launchId: launch.id, instances: outcome.instances.map((i) => i.instanceId) },
        'instances launched',
      );
      if (outcome.instances.length < launch.body.count) ports.wakePlanner();
      return DONE;
    }
    case 'throttled':
      ports.log.warn({ launchId: launch.id, code: outcome.code }, 'EC2 throttles launches');
      return again(jittered(ports, RETRY_MS));
    case 'unknown':
      ports.log.warn(
        { launchId: launch.id, code: outcome.code },
        'outcome of the launch call is unknown; the same token follows',
      );
      return again(jittered(ports, RETRY_MS));
    case 'refused': {
      if (outcome.errorClass === 'capacity') {
        const { instanceType, market } = launch.body;
        await ports.launches.markUnavailable({ instanceType, zone: launch.zone, market }, outcome.code);
      }
      return await refuse(ports, launch, outcome.code, outcome.message);
    }
  }
}

/**
 * A refusal ends the launch only when no earlier call may still have an effect: with a twin call in the air, or one whose
 * outcome is unknown, the instances may exist, and the machines' money stays reserved until that is settled.
 */
async function refuse(ports: StepPorts, launch: Launch, code: string, detail: string): Promise<StepOutcome> {
  const now = await ports.launches.read(launch.id);
  if (now !== null && now.unsettledCalls > 0) return again(jittered(ports, UNSETTLED_RETRY_MS));
  const closed = await ports.launches.close(launch.id, 'refused', { reason: 'launch-refused', code, detail });
  if (!closed) return again(jittered(ports, UNSETTLED_RETRY_MS));
  ports.log.warn({ launchId: launch.id, code, instanceType: launch.body.instanceType }, 'EC2 refused the launch');
  ports.wakePlanner();
  return DONE;
}

/** 0.75 to 1.25 of the time, so that many launches do not come back in step. */
function jittered(ports: StepPorts, ms: number): number {
  return Math.round(ms * (0.75 + ports.ids.random() / 2));
}
