import { pino, type DestinationStream, type Logger as PinoLogger } from 'pino';
import { describeError } from '../model/errors.ts';
import type { LogLevel } from '../config/types.ts';
import { REDACTED, REDACTED_PATHS, scrubText } from './redaction.ts';

/** A structured logger. Field names carry units; secrets never get past it under the names of `redaction.ts`. */
export type Logger = PinoLogger;

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Default: standard error, one JSON object a line. */
  readonly destination?: DestinationStream;
  /** Which part of the program speaks, e.g. `planner`. */
  readonly component?: string;
}

/**
 * Makes a logger. Times are RFC 3339, levels are words, errors are their code, sentence, remedy and causes;
 * stacks appear on level debug and below only.
 */
export function createLogger({ level, destination, component }: LoggerOptions): Logger {
  const withStacks = level === 'debug' || level === 'trace';
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: [...REDACTED_PATHS], censor: REDACTED },
      serializers: {
        error: (error: unknown) => describe(error, withStacks),
        err: (error: unknown) => describe(error, withStacks),
      },
      hooks: { streamWrite: scrubText },
    },
    destination ?? pino.destination({ fd: 2, sync: true }),
  );
  return component === undefined ? logger : logger.child({ component });
}

function describe(error: unknown, withStacks: boolean): unknown {
  if (!(error instanceof Error)) return error;
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  const remedy = 'remedy' in error && typeof error.remedy === 'string' ? { remedy: error.remedy } : {};
  return {
    name: error.name,
    ...code,
    message: describeError(error),
    ...remedy,
    ...(withStacks ? { stack: error.stack } : {}),
  };
}
