/**
 * A stored plan made again from its stored input, by the planner of production. What it compares are canonical texts,
 * because a database keeps neither the order of keys nor the difference between absent and undefined.
 */
import { canonicalJson } from '../model/canonical-json.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { planAll } from './plan.ts';
import type { PlannerInput, PlanOutcome } from './types.ts';
import { PLANNER_VERSION } from './version.generated.ts';

/** One place where two outcomes differ. Null = nothing there. */
export interface Difference {
  /** e.g. `workloads[0].report.verdict` */
  readonly path: string;
  readonly stored: unknown;
  readonly replayed: unknown;
}

/**
 * `same`: byte for byte. `differs`: the same planner decided otherwise, which is a bug. `other-version`: another planner made
 * the plan, and this one decides otherwise, or cannot read what that one saw.
 */
export type Replay =
  | { readonly result: 'same'; readonly madeBy: string | null; readonly differences: readonly [] }
  | {
      readonly result: 'differs' | 'other-version';
      readonly madeBy: string | null;
      readonly differences: readonly Difference[];
    }
  | {
      readonly result: 'unreadable';
      readonly madeBy: string;
      readonly problem: string;
      readonly differences: readonly [];
    };

/** More is a wall that nobody reads; the first ones tell where to look. */
const DIFFERENCES_MAX = 20;

/** Plans the stored input anew. Throws only when the planner that made the plan cannot read its own input. */
export function replayPlan(input: PlannerInput, stored: PlanOutcome): Replay {
  const madeBy = stored.plannerVersion ?? null;
  const isSameVersion = madeBy === PLANNER_VERSION;
  let again: PlanOutcome;
  try {
    again = planAll(input);
  } catch (error) {
    if (isSameVersion || !(error instanceof Error)) throw error;
    return { result: 'unreadable', madeBy: madeBy ?? 'unknown', problem: error.message, differences: [] };
  }
  const [before, after] = [withoutVersion(stored), withoutVersion(again)];
  if (canonicalJson(before) === canonicalJson(after)) return { result: 'same', madeBy, differences: [] };
  const result = isSameVersion ? 'differs' : 'other-version';
  return { result, madeBy, differences: findDifferences(before, after) };
}

/** What is undefined is in no canonical text. */
function withoutVersion(outcome: PlanOutcome): object {
  return { ...outcome, plannerVersion: undefined };
}

/** Where two JSON values differ, at most twenty places, in the order of their paths. */
export function findDifferences(stored: unknown, replayed: unknown): Difference[] {
  const found: Difference[] = [];
  const walk = (path: string, a: unknown, b: unknown): void => {
    if (found.length >= DIFFERENCES_MAX || canonicalJson(a) === canonicalJson(b)) return;
    const keys = commonKeys(a, b);
    if (keys === null) found.push({ path, stored: a ?? null, replayed: b ?? null });
    else for (const key of keys) walk(joinPath(path, key), childOf(a, key), childOf(b, key));
  };
  walk('', asJson(stored), asJson(replayed));
  return found;
}

function asJson(value: unknown): unknown {
  return JSON.parse(canonicalJson(value));
}

/** Keys of two objects or of two lists; null when one of them is neither, or they are unlike. */
function commonKeys(a: unknown, b: unknown): readonly (string | number)[] | null {
  if (Array.isArray(a) && Array.isArray(b)) return Array.from({ length: Math.max(a.length, b.length) }, (_, at) => at);
  if (!isRecord(a) || !isRecord(b)) return null;
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].toSorted();
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function childOf(value: unknown, key: string | number): unknown {
  if (typeof key === 'number') return Array.isArray(value) ? (value[key] as unknown) : undefined;
  return isRecord(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

function joinPath(path: string, key: string | number): string {
  if (typeof key === 'number') return `${path}[${key}]`;
  return path === '' ? key : `${path}.${key}`;
}

export interface WhatIf {
  /** By this planner, with the policies of then: what the policy alone changes is the difference to `after`. */
  readonly before: PlanOutcome;
  readonly after: PlanOutcome;
  /** What the stored input cannot tell about the other policy; sentences. */
  readonly notes: readonly string[];
}

/** Plans the stored input under another policy of one of its workloads; null = the plan has no such workload. */
export function replayUnder(input: PlannerInput, policy: WorkloadPolicy): WhatIf | null {
  const known = input.workloads.find((workload) => workload.policy.name === policy.name);
  if (known === undefined) return null;
  const workloads = input.workloads.map((workload) => (workload === known ? { ...workload, policy } : workload));
  return {
    before: planAll(input),
    after: planAll({ ...input, workloads }),
    notes: listNotes(known.policy, policy),
  };
}

/** Facts were read under the old policy: where it said what to read, they stay as they are. */
function listNotes(old: WorkloadPolicy, policy: WorkloadPolicy): string[] {
  const maxWait = ({ demand }: WorkloadPolicy): number => demand.queue?.maxWaitMs ?? 0;
  const where = ({ burst }: WorkloadPolicy): unknown => [burst.region, burst.subnets.toSorted()];
  const notes: readonly (readonly [boolean, string])[] = [
    [
      maxWait(old) !== maxWait(policy),
      `tasks count as overdue as they did then, after ${maxWait(old) / 1000} s instead of ${maxWait(policy) / 1000} s`,
    ],
    [
      canonicalJson(where(old)) !== canonicalJson(where(policy)),
      `offerings are those of then: ${old.burst.region}, ${old.burst.subnets.join(', ')}`,
    ],
    [
      canonicalJson(old.demand.utilization?.windowMs ?? null) !==
        canonicalJson(policy.demand.utilization?.windowMs ?? null),
      'utilization is as it was measured then, over the window of then',
    ],
  ];
  return notes.flatMap(([applies, note]) => (applies ? [note] : []));
}
