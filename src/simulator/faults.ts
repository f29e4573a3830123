import type { EpochMs } from '../model/time.ts';
import type { Market } from '../model/offering.ts';
import type { Ec2ErrorCode } from './ec2-error.ts';
import { Ec2Error } from './ec2-error.ts';
import { matchesGlob } from './glob.ts';

/** How many instances of an offering may live at once, during a span of time. Patterns may hold `*` and `?`. */
export interface CapacityRule {
  readonly instanceType: string;
  readonly zone: string;
  readonly market: Market | '*';
  readonly instancesMax: number;
  /** Default: always. */
  readonly fromMs?: EpochMs;
  readonly untilMs?: EpochMs;
}

export interface ErrorFault {
  readonly code: Ec2ErrorCode;
  readonly message?: string;
  /** How many calls fail. Default 1. */
  readonly times?: number;
  /** How many calls go well before that: 1 lets the first page of a listing come and fails the second. Default 0. */
  readonly after?: number;
}

interface Countdown<T> {
  readonly value: T;
  left: number;
  /** Calls that pass untouched before the count begins. */
  wait?: number;
}

/** Keeps one list from growing without end when a test injects in a loop. */
const QUEUED_MAX = 10_000;

/**
 * What goes wrong on purpose. Each fault is counted down by the calls that meet it, so a run is repeatable.
 * `lostReply` and `delay` belong to the way to and from the region: whoever carries the call asks for them.
 */
export class Faults {
  private readonly errors = new Map<string, Countdown<ErrorFault>[]>();
  private readonly replies = new Map<string, Countdown<'lost'>[]>();
  private readonly delays = new Map<string, Countdown<number>[]>();
  private readonly partials: Countdown<number>[] = [];
  private readonly startFailures: Countdown<string>[] = [];
  private capacity: CapacityRule[] = [];

  /** The next calls of `action` are answered with this error and have no effect. */
  failNext(action: string, fault: ErrorFault): void {
    push(this.errors, action, { value: fault, left: fault.times ?? 1, wait: fault.after ?? 0 });
  }

  /** The next calls of `action` take effect, but the caller never hears the answer. */
  loseReply(action: string, times = 1): void {
    push(this.replies, action, { value: 'lost', left: times });
  }

  /** The next calls of `action` are answered `delayMs` late. */
  delay(action: string, delayMs: number, times = 1): void {
    push(this.delays, action, { value: delayMs, left: times });
  }

  /** The next RunInstances gives at most `instancesMax`, or fails when that is below its MinCount. */
  fulfilPartially(instancesMax: number, times = 1): void {
    this.partials.push({ value: instancesMax, left: times });
  }

  /** The next instances go from pending to terminated with this StateReason code, such as `Server.InternalError`. */
  failStart(stateReasonCode: string, times = 1): void {
    this.startFailures.push({ value: stateReasonCode, left: times });
  }

  /** Replaces the whole schedule of capacity. */
  setCapacity(rules: readonly CapacityRule[]): void {
    this.capacity = rules.slice(0, QUEUED_MAX);
  }

  /** From now on nothing goes wrong any more. */
  clear(): void {
    for (const queues of [this.errors, this.replies, this.delays]) queues.clear();
    for (const list of [this.partials, this.startFailures]) list.length = 0;
    this.capacity = [];
  }

  takeError(action: string): Ec2Error | null {
    const fault = take(this.errors.get(action));
    return fault === null ? null : new Ec2Error(fault.code, fault.message ?? `Injected: ${fault.code}`);
  }

  takeLostReply(action: string): boolean {
    return take(this.replies.get(action)) !== null;
  }

  takeDelayMs(action: string): number {
    return take(this.delays.get(action)) ?? 0;
  }

  takePartial(): number | null {
    return take(this.partials);
  }

  takeStartFailure(): string | null {
    return take(this.startFailures);
  }

  /** The first rule that holds for an offering at a moment; null = no limit. */
  capacityOf(offering: { instanceType: string; zone: string; market: Market }, atMs: EpochMs): CapacityRule | null {
    const rule = this.capacity.find(
      (rule) =>
        matchesGlob(rule.instanceType, offering.instanceType) &&
        matchesGlob(rule.zone, offering.zone) &&
        (rule.market === '*' || rule.market === offering.market) &&
        atMs >= (rule.fromMs ?? -Infinity) &&
        atMs < (rule.untilMs ?? Infinity),
    );
    return rule ?? null;
  }
}

function push<T>(queues: Map<string, Countdown<T>[]>, action: string, item: Countdown<T>): void {
  const queue = queues.get(action) ?? [];
  if (queue.length < QUEUED_MAX) queue.push(item);
  queues.set(action, queue);
}

function take<T>(queue: Countdown<T>[] | undefined): T | null {
  const spent = queue?.findIndex((item) => item.left > 0) ?? -1;
  if (queue === undefined || spent < 0) return null;
  queue.splice(0, spent);
  const [first] = queue;
  if (first === undefined) return null;
  if (first.wait !== undefined && first.wait > 0) {
    first.wait -= 1;
    return null;
  }
  first.left -= 1;
  return first.value;
}
