import { waitMs } from '../model/waits.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';

export interface OpenedOptions {
  readonly log: Log;
  readonly clock: Pick<Clock, 'sleep'>;
  /** For one part. Default: `service.stop-part` of the list of waits. */
  readonly partMs?: number;
  /** For everything. Default: `service.stop`. */
  readonly allMs?: number;
}

/** How a stop ended: all of it closed or was left behind one by one, its time was over, or somebody could not wait. */
export type StopOutcome = 'closed' | 'late' | 'hurried';

interface Part {
  readonly name: string;
  readonly close: () => Promise<unknown>;
  readonly limitMs: number;
}

/** Everything that was opened, in order; stopping goes through it backwards, and never for longer than it may. */
export class Opened {
  readonly #parts: Part[] = [];
  readonly #options: OpenedOptions;

  constructor(options: OpenedOptions) {
    this.#options = options;
  }

  add(name: string, close: () => Promise<unknown>, limitMs?: number): void {
    const partMs = this.#options.partMs ?? waitMs('service.stop-part');
    this.#parts.unshift({ name, close, limitMs: limitMs ?? partMs });
  }

  /** Closes all of it, whatever fails or hangs on the way. @param hurry aborts when somebody cannot wait */
  async close(hurry: AbortSignal): Promise<StopOutcome> {
    const { log } = this.#options;
    const over = new AbortController();
    const state = { at: '' };
    const outcome = await Promise.race([
      this.#closeParts(state).then((): StopOutcome => 'closed'),
      this.#after(this.#options.allMs ?? waitMs('service.stop'), over.signal).then((): StopOutcome => 'late'),
      aborted(hurry).then((): StopOutcome => 'hurried'),
    ]);
    over.abort();
    if (outcome !== 'closed')
      log.error({ part: state.at, outcome }, 'the stop was cut short; the next start takes up what is left');
    return outcome;
  }

  async #closeParts(state: { at: string }): Promise<void> {
    for (const part of this.#parts.splice(0)) {
      state.at = part.name;
      await this.#closePart(part);
    }
  }

  async #closePart({ name, close, limitMs }: Part): Promise<void> {
    const { log } = this.#options;
    const over = new AbortController();
    try {
      // A part that fails after its time was over has nobody left to hear it.
      const closing = close().then(() => 'closed' as const);
      closing.catch(() => undefined);
      const outcome = await Promise.race([closing, this.#after(limitMs, over.signal).then(() => 'late' as const)]);
      if (outcome === 'late') log.warn({ part: name, limitMs }, 'a part did not stop in its time; it is left behind');
    } catch (error) {
      log.warn({ part: name, error: String(error) }, 'a part did not stop cleanly');
    } finally {
      over.abort();
    }
  }

  /** Resolves after `ms`; when the signal aborts first, never. */
  async #after(ms: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#options.clock.sleep(ms, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      await new Promise<never>(() => undefined);
    }
  }
}

/** Resolves, to nothing, when the signal aborts. */
export async function aborted(signal: AbortSignal): Promise<null> {
  return await new Promise<null>((resolve) => {
    if (signal.aborted) resolve(null);
    else signal.addEventListener('abort', () => resolve(null), { once: true });
  });
}

/** The first SIGTERM or SIGINT asks to stop; a second one, of either kind, says that nobody waits any more. */
export function watchStopSignals(process: Pick<NodeJS.Process, 'on' | 'off'>): {
  readonly first: Promise<NodeJS.Signals>;
  readonly hurry: AbortSignal;
  /** Leaves the signals to others. */
  forget(): void;
} {
  const first = Promise.withResolvers<NodeJS.Signals>();
  const hurry = new AbortController();
  let seen = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    seen += 1;
    if (seen === 1) first.resolve(signal);
    else hurry.abort();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return {
    first: first.promise,
    hurry: hurry.signal,
    forget() {
      process.off('SIGTERM', onSignal);
      process.off('SIGINT', onSignal);
    },
  };
}
