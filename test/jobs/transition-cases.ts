import { MACHINE_STATES, MACHINE_TRANSITIONS, type MachineTransition } from '../../src/model/machine.ts';

/** Every legal transition and the beginning of a life, from the table of the model: a new state cannot be forgotten. */
export const TRANSITIONS: readonly MachineTransition[] = [
  '>requested',
  ...MACHINE_STATES.flatMap((from) => MACHINE_TRANSITIONS[from].map((to) => `${from}>${to}` as MachineTransition)),
];

/**
 * What is done to each transition. Its record is the commit that makes it true; its effect is the call to the outer world
 * that the record waits for, or that follows it. `lost` means that it happened and the answer did not arrive.
 */
export const FAULTS = [
  'twice at once',
  'twice in turn',
  'crash before its effect',
  'crash after its effect',
  'crash after its record',
  'error instead of its effect',
  'reply of its effect lost',
  'reply of its record lost',
] as const;
export type TransitionFault = (typeof FAULTS)[number];

export interface TransitionCase {
  readonly transition: MachineTransition;
  readonly fault: TransitionFault;
}

/** All that have to be passed: each transition under each fault. */
export const TRANSITION_CASES: readonly TransitionCase[] = TRANSITIONS.flatMap((transition) =>
  FAULTS.map((fault) => ({ transition, fault })),
);

export interface TransitionCoverage {
  readonly covered: number;
  readonly total: number;
  readonly missing: readonly TransitionCase[];
}

/** How much of the generated table was passed. */
export function coverageOf(passed: readonly TransitionCase[]): TransitionCoverage {
  const names = new Set(passed.map(nameOf));
  const missing = TRANSITION_CASES.filter((one) => !names.has(nameOf(one)));
  return { covered: TRANSITION_CASES.length - missing.length, total: TRANSITION_CASES.length, missing };
}

function nameOf({ transition, fault }: TransitionCase): string {
  return `${transition}, ${fault}`;
}
