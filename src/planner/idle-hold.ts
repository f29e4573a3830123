import { BILLED_MIN_MS } from '../model/money.ts';
import type { DrainPolicy } from '../model/policy.ts';
import type { EpochMs } from '../model/time.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { MachineView } from './types.ts';

/** `auto` keeps no machine without work for longer than this, however long its start took. */
export const AUTO_HOLD_MAX_MS = 5 * MINUTE_MS;

/** What the hold looks at. */
export type HeldMachine = Pick<MachineView, 'createdAtMs' | 'startedAtMs' | 'startMs' | 'idleSinceMs'>;

/**
 * How long a machine is kept without work. Said by the policy, that is it. Else it is the rule for whoever rents and may
 * have to rent again: as long as a new start would be billed before its first task. Whatever the future holds, that costs at
 * most twice what somebody who knew it would pay: let go sooner, a start that comes too often costs more; kept longer, the
 * wait does.
 */
export function idleHoldMs({ scaleDownUnneededMs }: DrainPolicy, { startMs = null }: HeldMachine): number {
  // EC2 bills a start that nobody has measured for the minimum.
  return scaleDownUnneededMs ?? Math.min(AUTO_HOLD_MAX_MS, startMs ?? BILLED_MIN_MS);
}

/** When a machine that nothing needs may go: idle for long enough, and with `auto` not before the end of what is paid anyway. */
export function idleUntilMs(drain: DrainPolicy, machine: HeldMachine): EpochMs {
  const { idleSinceMs } = machine;
  if (idleSinceMs === null) return Infinity;
  const paidUntilMs = drain.scaleDownUnneededMs === null ? startOf(machine) + BILLED_MIN_MS : -Infinity;
  return Math.max(idleSinceMs + idleHoldMs(drain, machine), paidUntilMs);
}

/** When a machine is old enough to go. */
export function minimumLifeEndsMs({ minimumLifeMs }: DrainPolicy, machine: HeldMachine): EpochMs {
  return minimumLifeMs === 0 ? -Infinity : startOf(machine) + minimumLifeMs;
}

function startOf({ startedAtMs = null, createdAtMs }: HeldMachine): EpochMs {
  return startedAtMs ?? createdAtMs;
}

/** The hold as a reader says it. */
export function holdText({ scaleDownUnneededMs }: DrainPolicy): string {
  return scaleDownUnneededMs === null ? 'the time that a new start is billed for' : `${scaleDownUnneededMs / 1000} s`;
}
