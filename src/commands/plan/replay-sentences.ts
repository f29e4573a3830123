import { describeWorkloadPlan } from '../../planner/describe.ts';
import type { Difference, Replay } from '../../planner/replay.ts';
import type { WorkloadPlan } from '../../planner/types.ts';

export type ReplayedPlan = Replay & { readonly planId: string; readonly decidedAt: string };

export interface WhatIfPlan {
  readonly planId: string;
  readonly decidedAt: string;
  readonly workload: string;
  readonly changed: readonly { readonly before: WorkloadPlan; readonly after: WorkloadPlan }[];
  readonly notes: readonly string[];
}

/** Longer values are cut: the path says where to look in `-o json`. */
const VALUE_CHARS_MAX = 200;

/** `same`, or what differs and whose difference it is. */
export function replaySentences(plan: ReplayedPlan, version: string): string[] {
  const { planId, result } = plan;
  const madeBy = plan.madeBy ?? 'that did not say its version';
  switch (result) {
    case 'same':
      return [`${planId}: same`];
    case 'differs':
      return [
        `${planId}: differs, made by this planner (${version}) from this very input: this is a bug of Spillway, please report it`,
        ...plan.differences.map(differenceLine),
      ];
    case 'other-version':
      return [
        `${planId}: decided otherwise, by planner ${madeBy}; this one is ${version}, and versions may differ`,
        ...plan.differences.map(differenceLine),
      ];
    case 'unreadable':
      return [`${planId}: planner ${madeBy} saw what planner ${version} cannot read: ${plan.problem}`];
  }
}

function differenceLine({ path, stored, replayed }: Difference): string {
  return `  ${path}: stored ${valueText(stored)}, replayed ${valueText(replayed)}`;
}

function valueText(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= VALUE_CHARS_MAX ? text : `${text.slice(0, VALUE_CHARS_MAX)}...`;
}

/** What the plan was beside what it would have been. */
export function whatIfSentences({ planId, decidedAt, changed, notes }: WhatIfPlan): string[] {
  const caveats = notes.map((note) => `  note: ${note}`);
  if (changed.length === 0) return [`${planId} of ${decidedAt}: the policy changes nothing`, ...caveats];
  return [
    `${planId} of ${decidedAt}: the policy changes ${changed.map(({ before }) => before.workload).join(', ')}`,
    ...changed.flatMap(({ before, after }) => [...marked('then:', before), ...marked('with the policy:', after)]),
    ...caveats,
  ];
}

function marked(title: string, plan: WorkloadPlan): string[] {
  const { usdPerHourAfter } = plan.report.money;
  const lines = describeWorkloadPlan(plan).split('\n');
  return [`  ${title}`, ...lines.map((line) => `    ${line}`), `      $${usdPerHourAfter.toFixed(4)}/h after it`];
}
