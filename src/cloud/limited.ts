import type { ClockTimes } from '../model/clock-times.ts';
import { AppError } from '../model/errors.ts';
import { SIGN_DEADLINE_PASSED } from '../ports/cloud.ts';
import type { Cloud, PowerOutcome, RunOutcome, RunRequest, TerminateOutcome } from '../ports/cloud.ts';
import type { ApiCall, CallGate } from './call-gate.ts';

/** The code of a call that was not made because our own bucket had no token for it. */
export const LOCAL_BUDGET = 'LocalBudget';

/**
 * A cloud whose calls that change something are made only with tokens in hand. They never wait here: a step that is put off
 * comes back by its row, and holds neither a worker nor a fence meanwhile. Reads pass the gate inside the adapter, because
 * one listing is many calls.
 */
export function limitCloud<C extends Cloud>(cloud: C, gate: CallGate): C {
  return {
    ...cloud,
    runInstances: async (request: RunRequest) => await runInstances(cloud, gate, request),
    stopInstance: async (region: string, instanceId: string) =>
      await changePower(gate, { region, action: 'StopInstances', instances: 1 }, async () => {
        return await cloud.stopInstance(region, instanceId);
      }),
    startInstance: async (region: string, instanceId: string, signBefore: ClockTimes) =>
      await changePower(gate, { region, action: 'StartInstances', instances: 1 }, async () => {
        return await cloud.startInstance(region, instanceId, signBefore);
      }),
    terminateInstances: async (region: string, instanceIds: readonly string[], signBefore?: ClockTimes) =>
      await terminateInstances(cloud, gate, { region, instanceIds, signBefore }),
  };
}

async function runInstances(cloud: Cloud, gate: CallGate, request: RunRequest): Promise<RunOutcome> {
  const call = { region: request.region, action: 'RunInstances', instances: request.body.count };
  const held = await admitCall(gate, call);
  if (held !== null) return held;
  const outcome = await cloud.runInstances(request);
  // What was never sent says nothing of how busy EC2 is.
  if (outcome.kind !== 'throttled' || outcome.code === SIGN_DEADLINE_PASSED) return outcome;
  const retryAfterMs = await gate.noteThrottle(call);
  return retryAfterMs === null ? outcome : { ...outcome, retryAfterMs };
}

async function changePower(gate: CallGate, call: ApiCall, send: () => Promise<PowerOutcome>): Promise<PowerOutcome> {
  const held = await admitCall(gate, call);
  if (held !== null) return held;
  const outcome = await send();
  if (outcome.kind !== 'throttled') return outcome;
  const retryAfterMs = await gate.noteThrottle(call);
  return retryAfterMs === null ? outcome : { ...outcome, retryAfterMs };
}

type Throttled = Extract<RunOutcome, { readonly kind: 'throttled' }>;

/** Null when the call may be made. Whether there is a token may be unknown: then it is not made. */
async function admitCall(gate: CallGate, call: ApiCall): Promise<Throttled | null> {
  try {
    const admission = await gate.admit(call);
    if (admission.kind === 'taken') return null;
    const message = `No token for ${call.instances} instances before ${admission.waitMs} ms; EC2 was not called.`;
    return { kind: 'throttled', code: LOCAL_BUDGET, message, retryAfterMs: admission.waitMs };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { kind: 'throttled', code: LOCAL_BUDGET, message: `EC2 was not called: ${error.message}` };
  }
}

async function terminateInstances(
  cloud: Cloud,
  gate: CallGate,
  {
    region,
    instanceIds,
    signBefore,
  }: {
    readonly region: string;
    readonly instanceIds: readonly string[];
    readonly signBefore: ClockTimes | undefined;
  },
): Promise<TerminateOutcome> {
  if (instanceIds.length === 0) return { kind: 'accepted' };
  const call = { region, action: 'TerminateInstances', instances: instanceIds.length };
  const admission = await gate.admit(call);
  if (admission.kind === 'wait') return { kind: 'throttled', retryAfterMs: admission.waitMs };
  try {
    return await cloud.terminateInstances(region, instanceIds, signBefore);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'AWS_THROTTLED') throw error;
    const retryAfterMs = await gate.noteThrottle(call);
    if (retryAfterMs === null) throw error;
    return { kind: 'throttled', retryAfterMs };
  }
}
