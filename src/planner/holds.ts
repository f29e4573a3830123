import type { HoldClass } from '../model/holds.ts';
import type { Offering } from '../model/offering.ts';
import type { EpochMs } from '../model/time.ts';
import { compareText } from './order.ts';
import type { HoldView, PlanReason, ReasonCode, WorkloadInput } from './types.ts';

const CODES: Readonly<Record<HoldClass, ReasonCode>> = {
  capacity: 'offerings-held',
  quota: 'held-quota',
  auth: 'held-auth',
  config: 'held-config',
  idempotency: 'held-idempotency',
  join: 'held-join',
};

/** The hold that keeps every launch of the workload back, if there is one. */
export function wideHold({ holds = [] }: WorkloadInput): HoldView | null {
  return holds.find(({ isWide, state }) => isWide && state !== 'half-open') ?? null;
}

/** Keys of the workload's own holds that one launch of one machine may try now. */
export function wideProbes({ holds = [] }: WorkloadInput): readonly string[] {
  return holds.filter(({ isWide, state }) => isWide && state === 'half-open').map(({ key }) => key);
}

/** Keys of the holds that machines of a draft try already. */
export function probedBy(launched: readonly { readonly offering: Offering }[]): ReadonlySet<string> {
  return new Set(launched.flatMap(({ offering }) => offering.probes ?? []));
}

/** An offering that is to be probed can be had once. */
export function isSpent({ probes }: Offering, probed: ReadonlySet<string>): boolean {
  return probes !== undefined && probes.some((key) => probed.has(key));
}

/** The bound for work that has to wait for what a probe finds out. */
export function probingDetail(probed: ReadonlySet<string>): string {
  return `one machine, for ${[...probed].sort(compareText).join(', ')}`;
}

/** Every hold as a reason, whether or not anything is wanted: whoever has to change a right or a policy should not wait for work. */
export function holdReasons({ holds = [] }: WorkloadInput, nowMs: EpochMs): PlanReason[] {
  return holds.map((hold) => holdReason(hold, nowMs));
}

export function holdReason(hold: HoldView, nowMs: EpochMs): PlanReason {
  return { code: CODES[hold.errorClass], detail: `${hold.key}: ${hold.errorCode}, ${whenOver(hold, nowMs)}` };
}

function whenOver({ state, untilMs }: HoldView, nowMs: EpochMs): string {
  if (state === 'half-open') return 'to be tried again with one machine';
  if (state === 'probing') return 'one machine is tried';
  if (untilMs === null) return 'until the policy changes';
  return `${Math.max(0, Math.ceil((untilMs - nowMs) / 1000))} s left`;
}
