import { REBUILT_REASON } from '../../src/model/machine.ts';
import type { Evidence, RegionEvent } from './evidence.ts';
import { BEAT_MS, type Run } from './trace.ts';

/** What the run was told, and what must therefore be. */
export interface Terms {
  readonly machinesMax: number;
  /** Tasks whose submission was acknowledged. */
  readonly acknowledged: readonly string[];
}

const ENDED: readonly string[] = ['shutting-down', 'stopping', 'terminated'];

/** Every broken promise as one sentence; an empty list is the only good one. */
export function findViolations(evidence: Evidence, terms: Terms): readonly string[] {
  return [
    ...overLaunched(evidence),
    ...tooManyAlive(evidence.events, terms.machinesMax),
    ...leaked(evidence),
    ...killedAtWork(evidence),
    ...ranTwiceAtOnce(evidence.runs),
    ...undone(evidence, terms),
    ...wrongMoney(evidence),
    ...illegalSteps(evidence),
    ...epochsBackwards(evidence.rows.planEpochs),
  ];
}

/** A token names its launch; a launch may use several tokens, one after the other, and still makes no more than its count. */
function overLaunched({ instances, rows }: Evidence): readonly string[] {
  const counts = new Map(rows.launches.map(({ nonce, count }) => [nonce, count]));
  return [...Map.groupBy(instances, ({ clientToken }) => clientToken.split('.')[1] ?? '')].flatMap(([nonce, made]) => {
    const count = counts.get(nonce) ?? 0;
    return made.length > count ? [`launch ${nonce} was for ${count} and made ${made.length} instances`] : [];
  });
}

function tooManyAlive(events: readonly RegionEvent[], max: number): readonly string[] {
  const alive = new Set<string>();
  let most = 0;
  for (const { kind, instanceId } of events.toSorted((a, b) => a.atMs - b.atMs || a.seq - b.seq)) {
    if (kind === 'pending') alive.add(instanceId);
    if (ENDED.includes(kind)) alive.delete(instanceId);
    most = Math.max(most, alive.size);
  }
  return most > max ? [`${most} instances lived at the same time; the policy allows ${max}`] : [];
}

function leaked({ instances }: Evidence): readonly string[] {
  const left = instances.filter(({ state }) => state !== 'terminated');
  return left.map(({ instanceId, state }) => `instance ${instanceId} is left behind, ${state}`);
}

/** A task that its machine's end cut off gave its last sign of life right before. */
function killedAtWork({ events, runs }: Evidence): readonly string[] {
  const ends = new Map<string, RegionEvent>();
  for (const event of events) {
    if (ENDED.includes(event.kind) && !ends.has(event.instanceId)) ends.set(event.instanceId, event);
  }
  return runs.flatMap(({ instanceId, taskId, ended, toMs }) => {
    const end = instanceId === null ? undefined : ends.get(instanceId);
    if (end === undefined) return [];
    const cutOff = !ended && toMs + 2 * BEAT_MS >= end.atMs;
    return cutOff || toMs > end.atMs ? [`instance ${instanceId} was ended under task ${taskId}`] : [];
  });
}

function ranTwiceAtOnce(runs: readonly Run[]): readonly string[] {
  return [...Map.groupBy(runs, ({ taskId }) => taskId)].flatMap(([taskId, ofTask]) =>
    ofTask.flatMap((run, index) => {
      const before = ofTask[index - 1];
      if (before === undefined) return [];
      if (run.fromMs >= before.toMs) return [];
      return [`attempts ${before.attempt} and ${run.attempt} of task ${taskId} ran at the same time`];
    }),
  );
}

function undone({ rows, runs }: Evidence, { acknowledged }: Terms): readonly string[] {
  const states = new Map(rows.tasks.map(({ id, state }) => [id, state]));
  const finished = new Set(runs.filter(({ ended }) => ended).map(({ taskId }) => taskId));
  return [
    ...acknowledged.filter((id) => !states.has(id)).map((id) => `task ${id} was acknowledged and is not known`),
    ...[...states].flatMap(([id, state]) => {
      if (state !== 'done') return [`task ${id} is ${state}`];
      return finished.has(id) ? [] : [`task ${id} is said to be done, but no run of it came to its end`];
    }),
  ];
}

const HALF_A_CENT_USD = 0.005;
/** Amounts are rounded to the nano-dollar, a few hundred of them. */
const ROUNDING_USD = 0.000_001;

/** To the cent; and, because a run costs only a few, within what nobody can know. */
function wrongMoney({ billUsd, reportUsd, rows }: Evidence): readonly string[] {
  const difference = Math.abs(Number(billUsd) - Number(reportUsd));
  if (difference < HALF_A_CENT_USD && difference <= rows.doubtUsd + ROUNDING_USD) return [];
  return [`the region bills ${billUsd} USD, the cost report says ${reportUsd}; ${rows.doubtUsd} could be in doubt`];
}

function illegalSteps({ rows: { machineEvents, legalSteps } }: Evidence): readonly string[] {
  const states = new Map<string, string>();
  return machineEvents.flatMap(({ machineId, from, to, reason }) => {
    const state = states.get(machineId) ?? null;
    states.set(machineId, to);
    if (from === to) return [];
    const legal = from === null ? to === 'requested' || reason === REBUILT_REASON : legalSteps.has(`${from}>${to}`);
    return from === state && legal ? [] : [`machine ${machineId} went from ${state} to ${to} (told as from ${from})`];
  });
}

function epochsBackwards(epochs: readonly number[]): readonly string[] {
  const at = epochs.findIndex((epoch, index) => epoch < (epochs[index - 1] ?? 0));
  return at < 0 ? [] : [`a plan of epoch ${epochs[at]} came after one of epoch ${epochs[at - 1]}`];
}
