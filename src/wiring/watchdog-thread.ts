import { writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';

export interface WatchdogSetup {
  /** One counter that the watched event loop raises. */
  readonly beats: Int32Array<SharedArrayBuffer>;
  readonly silentMsMax: number;
}

const { beats, silentMsMax } = workerData as WatchdogSetup;
const STDERR = 2;

for (let seen = Atomics.load(beats, 0); ; seen = Atomics.load(beats, 0)) {
  // Sleeps until the counter moves on from what was seen, and no longer than a live loop may be silent.
  if (Atomics.wait(beats, 0, seen, silentMsMax) !== 'timed-out') continue;
  writeSync(
    STDERR,
    `{"level":"fatal","msg":"the event loop stood still for ${silentMsMax} ms; this process ends itself"}\n`,
  );
  process.kill(process.pid, 'SIGKILL');
}
