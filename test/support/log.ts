import type { LogSink } from '../../src/store/log-sink.ts';

/** A log that nobody reads. */
export const quietLog: LogSink = { info: () => undefined, warn: () => undefined, error: () => undefined };

export interface LogLine {
  readonly level: 'info' | 'warn' | 'error';
  readonly details: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** A log that keeps its lines for the test to look at. */
export function recordingLog(): LogSink & { readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const keep =
    (level: LogLine['level']) =>
    (details: Readonly<Record<string, unknown>>, message: string): void => {
      lines.push({ level, details, message });
    };
  return { lines, info: keep('info'), warn: keep('warn'), error: keep('error') };
}
