import { createHash } from 'node:crypto';
import { Agenda } from './agenda.ts';
import { Chance } from './chance.ts';
import { Traps } from './traps.ts';
import { runInside, runOutside } from './tripwire.ts';

/** A simulated process. Whatever it started in an earlier incarnation is dead: nothing of it ever goes on. */
export interface Proc {
  readonly name: string;
  incarnation: number;
  up: boolean;
  /** Stopped by SIGSTOP until then: what would reach it waits. */
  stoppedUntilMs: number;
}

/**
 * What may befall one call out of a process:
 * - `crash-before`, `crash-after`: the process is gone before or after the effect; nothing of it runs again, no `finally` either.
 * - `throw`: the call throws what no code expects; error paths run, then the process ends.
 * - `drop`: no effect, an error. `lose`: the effect, and an error.
 * - `stop-before`, `stop-after`: SIGSTOP exactly here, longer than a lease; it goes on later as if nothing had been.
 * - `slow`: the answer takes up to a minute.
 */
export const CALL_FAULTS = [
  'crash-before',
  'crash-after',
  'throw',
  'drop',
  'lose',
  'stop-before',
  'stop-after',
  'slow',
] as const;
/** Probability per call. */
export type FaultRates = Readonly<Partial<Record<string, number>>>;

export type Settled<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown };

export interface CallSpec<T> {
  readonly site: string;
  /** Kinds of {@link CALL_FAULTS}, and others that `perform` knows. */
  readonly rates: FaultRates;
  /** Virtual milliseconds there and back, at most. */
  readonly latencyMs: number;
  /** Does it. Resolves when the next thing may happen; delivers the outcome once, now or at any later time. */
  perform(deliver: (outcome: Settled<T>) => void, fault: string | null): void | Promise<void>;
  /** What the caller gets for `drop` and `lose`. */
  lost(): Error;
  /** A request on its way when its process dies still takes effect, unless this says otherwise. */
  readonly diesWithProcess?: boolean;
}

/** The `perform` of an effect that is over when its promise is. */
export function performing<T>(effect: () => T | Promise<T>): CallSpec<T>['perform'] {
  return async (deliver) => {
    try {
      deliver({ ok: true, value: await effect() });
    } catch (error) {
      deliver({ ok: false, error });
    }
  };
}

export interface SimOptions {
  readonly seed: number;
  /** Only these faults happen, by their names; null = as the seed says. */
  readonly only: ReadonlySet<string> | null;
  readonly startMs: number;
  /** Kinds that this seed leaves out. */
  readonly without: ReadonlySet<string>;
  /** Virtual milliseconds from the start after which no fault happens any more. */
  readonly quietAfterMs: number;
}

const STOP_MS = { low: 5_000, high: 400_000 } as const;
const SLOW_MS = { low: 1_000, high: 60_000 } as const;
const RESTART_MS = { low: 200, high: 15_000 } as const;
const DYING_MS = 50;
/** A place visited for the first time fails so many times as often as one visited for ever. */
const RARE_WEIGHT = 40;
/** Visits after which half of that is gone. */
const RARE_VISITS = 5;
/** No kind befalls more than every thirtieth call. */
const RATE_MAX = 1 / 30;

/** The unexpected: no `AppError`, no code, nothing a handler could know. */
export class InjectedThrow extends Error {
  override readonly name = 'InjectedThrow';
}

/** One virtual clock, one agenda, one thing at a time. Everything random comes from the seed. */
export class Sim {
  readonly chance: Chance;
  readonly options: SimOptions;
  /** Names of the faults that happened, in order. */
  readonly faults: string[] = [];
  readonly faultsByKind = new Map<string, number>();
  nowMs: number;
  /** Effects that were carried out. */
  effects = 0;
  private readonly traps = new Traps();
  private readonly agenda = new Agenda();
  private readonly trace = createHash('sha256');
  private readonly mains = new Map<Proc, () => void>();
  private readonly onCrash: ((proc: Proc) => void)[] = [];
  private readonly onStop: ((proc: Proc) => void)[] = [];
  /** Each ends a sleeper's wait for an abort. */
  private readonly listening = new Set<() => void>();
  private failure: unknown = null;

  constructor(options: SimOptions) {
    this.options = options;
    this.chance = new Chance(options.seed);
    this.nowMs = options.startMs;
  }

  /** Goes into the digest: two runs that differ in anything noted have different digests. */
  note(text: string): void {
    this.trace.update(`${this.nowMs} ${text}\n`);
  }

  digest(): string {
    return this.trace.copy().digest('hex').slice(0, 16);
  }

  /** Ends the run with this error. */
  fail(error: unknown): void {
    this.failure ??= error;
  }

  /** True when faults may still happen. */
  isStormy(): boolean {
    return this.nowMs < this.options.startMs + this.options.quietAfterMs;
  }

  /** Whether a fault of this kind happens here, now. Counted, named, and left out where only some faults are wanted. */
  strikes(site: string, kind: string, rate: number): boolean {
    const { value, id } = this.chance.roll(`${site}!${kind}`);
    return this.decide(id, kind, value < rate);
  }

  /**
   * At most one of several kinds, by one throw of the dice. What is seldom done fails more often than what is always done: the
   * first visits to a place count for many, or the rare steps, which matter most, would hardly ever fail.
   */
  strikesOneOf(site: string, rates: FaultRates): string | null {
    const { value, id, visit } = this.chance.roll(`${site}!`);
    const weight = 1 + RARE_WEIGHT / (1 + visit / RARE_VISITS);
    let sum = 0;
    for (const [kind, rate = 0] of Object.entries(rates)) {
      sum += Math.min(RATE_MAX, rate * weight);
      if (value < sum) return this.decide(`${id}:${kind}`, kind, true) ? kind : null;
    }
    return null;
  }

  /**
   * The next call at some place seen so far fails in some way: places in the code are chosen, not calls, so that what is seldom
   * done is hit exactly there as often as what is always done.
   */
  setTrap(): void {
    this.traps.set(this.chance);
  }

  /** The fault that waits here, if one does. */
  private spring(site: string, rates: FaultRates): string | null {
    const kind = this.traps.spring(site, rates);
    if (kind === null || !this.isStormy() || this.options.without.has(kind)) return null;
    this.faultsByKind.set(kind, (this.faultsByKind.get(kind) ?? 0) + 1);
    this.note(`trapped ${site} ${kind}`);
    return kind;
  }

  private decide(id: string, kind: string, wanted: boolean): boolean {
    const { only, without } = this.options;
    if (!wanted || !this.isStormy() || without.has(kind)) return false;
    if (only !== null && !only.has(id)) return false;
    this.faults.push(id);
    this.faultsByKind.set(kind, (this.faultsByKind.get(kind) ?? 0) + 1);
    this.note(`fault ${id}`);
    return true;
  }

  at(delayMs: number, run: () => unknown): void {
    const atMs = this.nowMs + Math.max(0, Math.round(delayMs));
    this.agenda.add(atMs, this.chance.roll('tie').value, run);
  }

  /** Begins something of the world that itself waits for time to pass; only its failure is heard of. */
  launch(delayMs: number, begin: () => Promise<void>): void {
    this.at(delayMs, () => {
      begin().catch((error: unknown) => this.fail(error));
    });
  }

  /** Something of the world that repeats until the run ends. */
  every(intervalMs: number, run: () => unknown): void {
    this.at(intervalMs, async () => {
      await run();
      this.every(intervalMs, run);
    });
  }

  createProc(name: string, main: (proc: Proc) => void): Proc {
    const proc: Proc = { name, incarnation: 0, up: false, stoppedUntilMs: 0 };
    this.mains.set(proc, () => main(proc));
    return proc;
  }

  whenCrashed(tell: (proc: Proc) => void): void {
    this.onCrash.push(tell);
  }

  whenStopped(tell: (proc: Proc) => void): void {
    this.onStop.push(tell);
  }

  start(proc: Proc): void {
    if (proc.up) return;
    proc.up = true;
    proc.incarnation += 1;
    proc.stoppedUntilMs = 0;
    this.note(`start ${proc.name}`);
    runInside(() => this.mains.get(proc)?.());
  }

  /** kill -9, and a start of the next incarnation a little later. */
  crash(proc: Proc): void {
    if (!proc.up) return;
    proc.up = false;
    proc.incarnation += 1;
    this.note(`crash ${proc.name}`);
    for (const tell of this.onCrash) tell(proc);
    const restartMs = this.chance.integer(`${proc.name}:restart`, RESTART_MS.low, RESTART_MS.high);
    this.at(restartMs, () => this.start(proc));
  }

  /** SIGSTOP now, SIGCONT later. */
  stop(proc: Proc): void {
    if (!proc.up) return;
    const ms = this.chance.integer(`${proc.name}:stop-ms`, STOP_MS.low, STOP_MS.high);
    proc.stoppedUntilMs = Math.max(proc.stoppedUntilMs, this.nowMs + ms);
    this.note(`stop ${proc.name} ${ms}`);
    for (const tell of this.onStop) tell(proc);
  }

  /** Goes on inside a process: later if it is stopped, never if it is dead. */
  into(proc: Proc, incarnation: number, go: () => void): void {
    if (!proc.up || proc.incarnation !== incarnation) return;
    if (proc.stoppedUntilMs > this.nowMs) {
      this.at(proc.stoppedUntilMs - this.nowMs, () => this.into(proc, incarnation, go));
      return;
    }
    go();
  }

  async sleep(proc: Proc, ms: number, signal?: AbortSignal): Promise<void> {
    const { incarnation } = proc;
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const listensNoMore = signal === undefined ? () => undefined : this.onAbort(signal, reject);
      this.at(ms, () =>
        this.into(proc, incarnation, () => {
          listensNoMore();
          resolve();
        }),
      );
    });
  }

  /** Node keeps whoever listens to a derived signal: the sleepers of crashed processes, and with them whole worlds, would fill the memory. */
  private onAbort(signal: AbortSignal, tell: (reason: Error) => void): () => void {
    const hear = (): void => tell(signal.reason as Error);
    const listensNoMore = (): void => {
      signal.removeEventListener('abort', hear);
      this.listening.delete(listensNoMore);
    };
    signal.addEventListener('abort', hear, { once: true });
    this.listening.add(listensNoMore);
    return listensNoMore;
  }

  /** Nobody of this world hears of anything any more. */
  end(): void {
    for (const listensNoMore of this.listening) listensNoMore();
  }

  /** The only door out of a process: what the caller awaits, with whatever befalls the call on its way. */
  async call<T>(proc: Proc, spec: CallSpec<T>): Promise<T> {
    const { incarnation } = proc;
    const site = `${proc.name}:${spec.site}`;
    const fault = this.spring(site, spec.rates) ?? this.strikesOneOf(site, spec.rates);
    const travelMs = (this.chance.roll(`${site}~`).value * spec.latencyMs) / 2;
    if (fault === 'throw') {
      this.at(DYING_MS, () => proc.incarnation === incarnation && this.crash(proc));
      throw new InjectedThrow(`thrown at ${site}`);
    }
    return await new Promise<T>((resolve, reject) => {
      const back = (answer: () => void): void => {
        const slowMs = fault === 'slow' ? this.chance.integer(`${site}:slow-ms`, SLOW_MS.low, SLOW_MS.high) : 0;
        this.at(travelMs + slowMs, () => this.into(proc, incarnation, answer));
      };
      const deliver = (outcome: Settled<T>): void => {
        this.note(`${site} ${outcome.ok ? describe(outcome.value) : String(outcome.error)}`);
        if (fault === 'crash-after' && proc.incarnation === incarnation) return this.crash(proc);
        if (fault === 'stop-after' && proc.incarnation === incarnation) this.stop(proc);
        back(() => {
          if (fault === 'lose') reject(spec.lost());
          else if (outcome.ok) resolve(outcome.value);
          else reject(outcome.error);
        });
      };
      const perform = async (): Promise<void> => {
        if (spec.diesWithProcess === true && proc.incarnation !== incarnation) return;
        this.effects += 1;
        await runOutside(async () => await spec.perform(deliver, fault));
      };
      if (fault === 'crash-before') return this.crash(proc);
      if (fault === 'drop') return back(() => reject(spec.lost()));
      if (fault !== 'stop-before') return this.at(travelMs, perform);
      this.stop(proc);
      this.into(proc, incarnation, () => this.at(travelMs, perform));
    });
  }

  /** Lets time pass until `untilMs`, looking after every event; a failure noted anywhere ends it. */
  async run(untilMs: number, look: () => boolean | Promise<boolean>): Promise<boolean> {
    for (let entry = this.agenda.take(untilMs); entry !== null; entry = this.agenda.take(untilMs)) {
      this.nowMs = entry.atMs;
      await entry.run();
      await drained();
      if (this.failure !== null) throw this.failure;
      if (await look()) return true;
    }
    this.nowMs = untilMs;
    return false;
  }
}

/** Outcomes are compared by their text; a listing of a thousand rows is as good as its beginning and its length. */
function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? 'undefined';
  return text.length <= 2_000 ? text : `${text.slice(0, 2_000)} (${text.length})`;
}

/** Resolves when everything that could go on without time passing has gone on. */
async function drained(): Promise<void> {
  await runOutside(
    async () =>
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      }),
  );
}
