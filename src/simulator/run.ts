import type { StartRegionOptions } from './start.ts';
import { startRegion } from './start.ts';

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

export interface RunRegionOptions extends StartRegionOptions {
  /** Where the one line with the endpoint goes. Default: standard output. */
  readonly write?: (text: string) => void;
}

/**
 * Runs a region until SIGTERM or SIGINT, then ends it without leaving a process, port or file behind.
 * Writes one line once it answers, in the form a shell can evaluate: `AWS_ENDPOINT_URL_EC2=http://127.0.0.1:41234`.
 */
export async function runRegionUntilSignal(options: RunRegionOptions = {}): Promise<void> {
  const { write = (text: string) => process.stdout.write(text), ...rest } = options;
  // Listening for the signal comes first: one that arrives during the start must not leave hosts behind.
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const end = (): void => ask();
  for (const signal of SIGNALS) process.on(signal, end);
  try {
    const running = await startRegion(rest);
    write(`AWS_ENDPOINT_URL_EC2=${running.endpoint}\n`);
    await asked;
    await running.stop();
  } finally {
    for (const signal of SIGNALS) process.off(signal, end);
  }
}
