import { AppError, describeError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';

export interface LoopSpec {
  readonly name: string;
  /** From the end of one turn to the beginning of the next. */
  readonly intervalMs: number;
  /** After a wake-up, turns come no closer than this: a burst of wake-ups shares one turn. */
  readonly gatherMs: number;
  /** One turn; its return value is not used. */
  turn(): Promise<unknown>;
}

export interface RunningLoop {
  readonly name: string;
  /** The next turn need not wait for the interval. */
  wake(): void;
  /** Runs no further turn; resolves when the one under way is through. */
  stop(): Promise<void>;
  /** What the last turn came to; null before the first one ended. */
  health(): { readonly ok: boolean; readonly detail: string; readonly sinceMs: number } | null;
}

/**
 * Repeats a turn until it is stopped. A turn that fails is told and tried again at its next time, because every loop must
 * outlive an outage of the database, the queue or EC2; a bug (anything that is no `AppError`) is told as an error.
 */
export function startLoop(spec: LoopSpec, ports: { readonly clock: Clock; readonly log: Log }): RunningLoop {
  const stopping = new AbortController();
  let waker = new AbortController();
  let state: { ok: boolean; detail: string; sinceMs: number } | null = null;
  let woken = false;

  const note = (ok: boolean, detail: string): void => {
    if (state?.ok === ok && state.detail === detail) return;
    if (state?.ok === false && ok) ports.log.info({ loop: spec.name }, 'loop works again');
    state = { ok, detail, sinceMs: ports.clock.nowMs() };
  };

  const turnOnce = async (): Promise<void> => {
    try {
      await spec.turn();
      note(true, '');
    } catch (error) {
      const detail = describeError(error);
      // Said once per outage, not once per turn: a database that is away for an hour must not fill the log.
      if (state?.ok !== false || state.detail !== detail) {
        const facts = {
          loop: spec.name,
          error: detail,
          ...(error instanceof AppError ? { code: error.code, remedy: error.remedy } : {}),
        };
        if (error instanceof AppError) ports.log.warn(facts, 'loop turn failed; it is tried again');
        else
          ports.log.error({ ...facts, stack: error instanceof Error ? error.stack : undefined }, 'loop turn met a bug');
      }
      note(false, detail);
    }
  };

  const pause = async (ms: number, signal: AbortSignal): Promise<void> => {
    await ports.clock.sleep(ms, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  };

  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      woken = false;
      await turnOnce();
      if (stopping.signal.aborted) return;
      await pause(spec.gatherMs, stopping.signal);
      if (woken) continue;
      waker = new AbortController();
      await pause(spec.intervalMs, AbortSignal.any([stopping.signal, waker.signal]));
    }
  };
  const running = run();

  return {
    name: spec.name,
    wake() {
      woken = true;
      waker.abort();
    },
    async stop() {
      stopping.abort();
      await running;
    },
    health: () => state,
  };
}
