import { Worker } from 'node:worker_threads';

import type { WatchdogSetup } from './watchdog-thread.ts';

/** Beside this file, in a checkout and in a built package. */
const THREAD = new URL(
  import.meta.url.endsWith('.ts') ? './watchdog-thread.ts' : './watchdog-thread.js',
  import.meta.url,
);
/** How often the event loop says that it lives, as a share of what it may stay silent. */
const BEATS_PER_LIMIT = 10;

export interface Watchdog {
  stop(): Promise<void>;
}

/**
 * Ends this process with SIGKILL when its event loop has not turned for `silentMsMax`. A leader that stands still cannot
 * know that its lease ran out; whoever starts it again finds everything in the rows. Runs in a thread of its own, because
 * a stalled loop cannot watch itself. A process that was stopped (SIGSTOP) for longer ends when it goes on.
 */
export function startWatchdog(silentMsMax: number): Watchdog {
  const beats = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const setup: WatchdogSetup = { beats, silentMsMax };
  const thread = new Worker(THREAD, { workerData: setup, execArgv: [] });
  const timer = setInterval(() => {
    Atomics.add(beats, 0, 1);
    Atomics.notify(beats, 0);
  }, silentMsMax / BEATS_PER_LIMIT);
  timer.unref();
  thread.unref();
  return {
    async stop() {
      clearInterval(timer);
      await thread.terminate();
    },
  };
}
