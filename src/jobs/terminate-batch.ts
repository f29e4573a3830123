import { TERMINATE_BATCH_MAX } from '../model/api-rates.ts';
import { AppError } from '../model/errors.ts';
import type { MachineIn } from '../model/machine.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { TerminateOutcome } from '../ports/cloud.ts';
import type { StepPorts } from './ports.ts';

/** EC2 ends an instance within a minute or two; asked again after that, because accepted is not done. */
const ASK_AGAIN_MS = MINUTE_MS;
/**
 * Calls for one batch at most. A bad id among 500 is found by 2 x log2(500) = 18 calls of ever smaller halves; more bad ones
 * than this finds are tried again with the next batch.
 */
const CALLS_MAX = 20;

/** What is left of a batch after its calls, and when its instances should be asked for again. */
interface Rest {
  readonly instanceIds: readonly string[];
  readonly afterMs: number;
}

/**
 * Ends the machines that are due in a region, this one among them, with one call. Who is asked for is written first, so that
 * no other step and no other replica asks for the same; a batch that is lost with its process is due again a minute later.
 * Returns when this machine wants another look (ms).
 */
export async function terminateTogether(
  ports: StepPorts,
  machine: MachineIn<'terminating'>,
  region: string,
): Promise<number> {
  const instanceIds = await ports.machines.claimTerminations(machine.id, {
    region,
    againAfterMs: ASK_AGAIN_MS,
    limit: TERMINATE_BATCH_MAX,
  });
  // Another step was faster; its row says what came of it.
  if (instanceIds.length === 0) return ports.timings.terminatePollMs;
  const rests = await endInstances(ports, region, instanceIds);
  for (const rest of rests) await ports.machines.putOffTerminations(rest.instanceIds, rest.afterMs);
  // Its own row may have been locked by an observer just then, and so be no part of the batch.
  if (!instanceIds.includes(machine.instanceId)) return ports.timings.terminatePollMs;
  return rests.find((rest) => rest.instanceIds.includes(machine.instanceId))?.afterMs ?? ASK_AGAIN_MS;
}

/** One call, or more where one id would fail the others for good: then the batch is divided until that one is alone. */
async function endInstances(ports: StepPorts, region: string, instanceIds: readonly string[]): Promise<Rest[]> {
  const rests: Rest[] = [];
  const groups: (readonly string[])[] = [instanceIds];
  for (let calls = 0; calls < CALLS_MAX; calls += 1) {
    const group = groups.shift();
    if (group === undefined) return rests;
    const { again, rest } = await endGroup(ports, region, group);
    groups.push(...again.filter(({ length }) => length > 0));
    if (rest !== null) rests.push(rest);
  }
  return [...rests, { instanceIds: groups.flat(), afterMs: ports.timings.terminatePollMs }];
}

interface GroupResult {
  /** Groups that are worth a call of their own now. */
  readonly again: readonly (readonly string[])[];
  readonly rest: Rest | null;
}

async function endGroup(ports: StepPorts, region: string, instanceIds: readonly string[]): Promise<GroupResult> {
  const afterMs = ports.timings.terminatePollMs;
  const outcome = await askEc2(ports, region, instanceIds);
  switch (outcome.kind) {
    case 'accepted':
      return { again: [], rest: null };
    case 'throttled':
      return { again: [], rest: { instanceIds, afterMs: Math.max(afterMs, outcome.retryAfterMs) } };
    case 'late':
    case 'unheard':
      return { again: [], rest: { instanceIds, afterMs } };
    case 'refused':
      return instanceIds.length === 1
        ? { again: [], rest: { instanceIds, afterMs: ASK_AGAIN_MS } }
        : { again: halvesOf(instanceIds), rest: null };
    case 'not-found': {
      const missing = new Set(outcome.instanceIds);
      const known = instanceIds.filter((id) => !missing.has(id));
      // Not a proof of absence by itself: the listings that do not show them will be (see `gone.ts`).
      ports.log.warn({ region, instanceIds: [...missing] }, 'EC2 does not know instances to terminate');
      return { again: [known], rest: { instanceIds: outcome.instanceIds, afterMs } };
    }
  }
}

/** `refused`: EC2 will not do this as it was asked. `unheard`: it could not be asked, or nobody knows whether it heard. */
type Asked = TerminateOutcome | { readonly kind: 'refused' | 'unheard' };

async function askEc2(ports: StepPorts, region: string, instanceIds: readonly string[]): Promise<Asked> {
  try {
    return await ports.cloud.terminateInstances(region, instanceIds);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const { code, message } = error;
    const shown = instanceIds.length === 1 ? { instanceId: instanceIds[0] } : { instances: instanceIds.length };
    ports.log.warn({ region, ...shown, code, error: message }, 'EC2 could not be asked to terminate');
    return { kind: code === 'AWS_CONFIG' ? 'refused' : 'unheard' };
  }
}

function halvesOf(ids: readonly string[]): readonly (readonly string[])[] {
  const middle = Math.ceil(ids.length / 2);
  return [ids.slice(0, middle), ids.slice(middle)];
}
