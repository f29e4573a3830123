import { clockTimes } from '../model/clock-times.ts';
import type { LaunchId } from '../model/ids.ts';
import { AppError } from '../model/errors.ts';
import { launchLimitsOf, OWNER_TAG, type Launch } from '../model/launch.ts';
import { SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { CloudInstance, RunOutcome } from '../ports/cloud.ts';
import type { BoundInstance } from '../ports/machines.ts';
import { again, DONE, type StepOutcome, type StepPorts } from './ports.ts';
import { holdOf, reactionTo, type Reaction } from './reactions.ts';

/** After an unknown outcome or a throttle: soon enough to matter, slow enough for EC2's bucket of 2 calls a second. */
const RETRY_MS = 5 * SECOND_MS;
/** After a refusal that settles nothing, because an earlier call may have had an effect: its instances would show at any repetition. */
const UNSETTLED_RETRY_MS = 30 * SECOND_MS;
/** Attempts in one visit: the first and every rung of a ladder. The bound ends a loop that a bug would turn for ever. */
const ATTEMPTS_MAX = 9;

/**
 * Carries one launch to `fulfilled`, `refused` or `expired`, down its ladder of offerings if need be. Safe to run twice and
 * at the same time: the row of the call comes first, every repetition sends the attempt's token and body, and EC2 answers a
 * repeated token with the same instances.
 */
export async function stepLaunch(ports: StepPorts, id: LaunchId): Promise<StepOutcome> {
  for (let attempts = 0; attempts < ATTEMPTS_MAX; attempts += 1) {
    const outcome = await stepAttempt(ports, id);
    if (outcome !== 'next') return outcome;
  }
  return again(jittered(ports, RETRY_MS));
}

/** One call of the current attempt; `next` = the launch moved on to another offering. */
async function stepAttempt(ports: StepPorts, id: LaunchId): Promise<StepOutcome | 'next'> {
  const found = await ports.launches.read(id);
  if (found === null || found.launch.state !== 'open') return DONE;
  const { launch, nowMs } = found;
  if (nowMs >= launch.deadlineAtMs && (await expireLaunch(ports, id))) return DONE;
  const userData = ports.credentials.renderUserData(launch.nonce, launch.body);
  if (ports.credentials.sha256(userData) !== launch.body.userDataSha256) {
    // Another deployment key than the one the launch was made with: the token would not verify, the host key not match.
    const detail = 'the deployment key changed since the launch was committed';
    return await refuse(ports, launch, { errorClass: 'config', code: 'CONFIG_KEY_FILE', detail });
  }
  const callId = await ports.launches.beginCall(id, launch.attempt);
  if (callId === null) return DONE;
  if (callId === 'held') return again(jittered(ports, UNSETTLED_RETRY_MS));
  const outcome = await ports.cloud.runInstances({
    region: launch.body.region,
    token: launch.token,
    body: launch.body,
    userData,
    signBefore: clockTimes(ports.clock, waitMs('aws.sign-launch')),
  });
  await ports.launches.finishCall(callId, outcome);
  ports.meter.launchAttempted({
    outcome: outcome.kind,
    errorClass: outcome.kind === 'refused' ? outcome.errorClass : '',
  });
  return await settle(ports, launch, outcome);
}

/**
 * Closes a launch whose time is over. False while a call may have had an effect: its instances would run beside those that the
 * freed money buys, so it stays open and the token is repeated, see `LAUNCH_GRACE_MS`.
 */
export async function expireLaunch(ports: StepPorts, id: LaunchId): Promise<boolean> {
  const closed = await ports.launches.close(id, 'expired', {
    reason: 'launch-expired',
    code: 'LAUNCH_DEADLINE',
    detail: 'EC2 gave no clear answer in time; the sweeper looks for what may have come of it',
  });
  ports.log.warn({ launchId: id, closed }, 'the deadline of a launch has passed');
  return closed;
}

async function settle(ports: StepPorts, launch: Launch, outcome: RunOutcome): Promise<StepOutcome | 'next'> {
  switch (outcome.kind) {
    case 'launched':
      return await take(ports, launch, outcome.instances);
    case 'throttled':
      ports.log.warn(
        { launchId: launch.id, code: outcome.code, detail: outcome.message },
        'EC2 took no launch call; the same token follows',
      );
      return again(retryAfter(ports, outcome));
    case 'unknown':
      ports.log.warn(
        { launchId: launch.id, code: outcome.code },
        'outcome of the launch call is unknown; the same token follows',
      );
      return again(jittered(ports, RETRY_MS));
    case 'refused':
      return await react(ports, launch, outcome);
  }
}

async function take(
  ports: StepPorts,
  { id, attempt, body }: Launch,
  instances: readonly BoundInstance[],
): Promise<StepOutcome> {
  await ports.launches.fulfil(id, attempt, instances);
  ports.log.info({ launchId: id, instances: instances.map(({ instanceId }) => instanceId) }, 'instances launched');
  if (instances.length < body.count) ports.wakePlanner();
  return DONE;
}

interface Refused {
  readonly errorClass: string;
  readonly code: string;
  readonly detail: string;
}

/** Writes what the refusal says of offerings or the policy first, so that whatever follows it is decided with it. */
async function react(
  ports: StepPorts,
  launch: Launch,
  { errorClass, code, message }: Extract<RunOutcome, { kind: 'refused' }>,
): Promise<StepOutcome | 'next'> {
  const reaction = reactionTo(errorClass, code);
  const refused = { errorClass, code, detail: message };
  const hold = holdOf(reaction, { ...launch.body, zone: launch.zone, workload: launch.workload }, refused);
  if (hold !== null) await ports.launches.hold(launch.id, hold);
  tellOperator(ports, launch, { reaction, refused });
  if (reaction.settlesCalls) {
    const own = await findOwn(ports, launch);
    if (own === null) return again(jittered(ports, UNSETTLED_RETRY_MS));
    if (own.length > 0) return await take(ports, launch, own);
  }
  switch (reaction.next) {
    case 'move-on':
      return await moveOn(ports, launch, { reaction, refused });
    case 'close':
      return await refuse(ports, launch, refused);
    case 'wait':
      // An earlier call with this token asked for something else, and may have had it: no new token, no freed money.
      return again(UNSETTLED_RETRY_MS);
  }
}

/**
 * What the token made, by EC2's own listing: its answers may have been lost with the processes that had them, and what has run is
 * billed, also when it is over. Null = EC2 did not tell all of it.
 */
async function findOwn(
  { cloud, log }: StepPorts,
  { id, token, body }: Launch,
): Promise<readonly CloudInstance[] | null> {
  try {
    const listing = await cloud.listInstances(body.region, body.tags[OWNER_TAG] ?? '');
    const own = listing.instances.filter(({ clientToken }) => clientToken === token);
    return own.length > 0 || listing.complete ? own : null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    log.warn({ launchId: id, code: error.code, error: error.message }, 'what a launch has made could not be listed');
    return null;
  }
}

interface Refusing {
  readonly reaction: Reaction;
  readonly refused: Refused;
}

function tellOperator({ log }: StepPorts, { id, workload, attempt }: Launch, { reaction, refused }: Refusing): void {
  if (reaction.remedy === null) return;
  const facts = { launchId: id, workload, attempt, errorClass: refused.errorClass, code: refused.code };
  log.error(
    { ...facts, remedy: reaction.remedy },
    'EC2 refuses launches for a reason that another offering rarely heals',
  );
}

/** The next rung, in this very job; closed when there is none. */
async function moveOn(
  ports: StepPorts,
  launch: Launch,
  { reaction, refused }: Refusing,
): Promise<StepOutcome | 'next'> {
  const policy = await ports.readPolicy(launch.workload);
  const outcome = await ports.launches.moveOn(launch.id, launch.attempt, {
    token: ports.credentials.makeToken(launch.nonce, launch.attempt + 1),
    limits: policy === null ? null : launchLimitsOf(policy),
    refusal: refused,
    settlesCalls: reaction.settlesCalls,
  });
  const facts = { launchId: launch.id, code: refused.code, instanceType: launch.body.instanceType, zone: launch.zone };
  switch (outcome) {
    case 'moved':
      ports.log.warn(facts, 'EC2 refused the launch; the next offering is tried');
      return 'next';
    case 'unsettled':
      return again(jittered(ports, UNSETTLED_RETRY_MS));
    case 'lost':
      return DONE;
    case 'exhausted':
      ports.log.warn(facts, 'EC2 refused the launch, and nothing is left to try');
      ports.wakePlanner();
      return DONE;
  }
}

/**
 * A refusal ends the launch only when no earlier call may still have an effect: with a twin call in the air, or one whose
 * outcome is unknown, the instances may exist, and the machines' money stays reserved until that is settled.
 */
async function refuse(ports: StepPorts, launch: Launch, refused: Refused): Promise<StepOutcome> {
  const closed = await ports.launches.close(launch.id, 'refused', { reason: 'launch-refused', ...refused });
  if (!closed) return again(jittered(ports, UNSETTLED_RETRY_MS));
  const { code } = refused;
  ports.log.warn({ launchId: launch.id, code, instanceType: launch.body.instanceType }, 'EC2 refused the launch');
  ports.wakePlanner();
  return DONE;
}

/**
 * The wait that the bucket names, and up to half of it more: launches that wait for the same token must not come back together.
 * Where nothing is named, as after an unknown outcome.
 */
function retryAfter(ports: StepPorts, { retryAfterMs }: { readonly retryAfterMs?: number }): number {
  if (retryAfterMs === undefined) return jittered(ports, RETRY_MS);
  return Math.ceil(retryAfterMs * (1 + ports.ids.random() / 2));
}

/** 0.75 to 1.25 of the time, so that many launches do not come back in step. */
function jittered(ports: StepPorts, ms: number): number {
  return Math.round(ms * (0.75 + ports.ids.random() / 2));
}
