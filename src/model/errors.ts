/**
 * Operating failures that a user can meet: each has a code, one sentence, and a remedy.
 * `docs/errors.md` lists the same codes; a test keeps the two equal.
 * Bugs are not here (they assert and crash); expected outcomes are not here (they are values).
 */
export const ERROR_CODES = {
  CONFIG_INVALID: { exitCode: 2, retryable: false },
  CONFIG_KEY_FILE: { exitCode: 2, retryable: false },
  USAGE: { exitCode: 2, retryable: false },
  POLICY_INVALID: { exitCode: 2, retryable: false },
  POLICY_UNREADABLE: { exitCode: 2, retryable: false },
  INPUT_INVALID: { exitCode: 2, retryable: false },
  INPUT_UNREADABLE: { exitCode: 2, retryable: false },
  NOT_FOUND: { exitCode: 3, retryable: false },
  WORKLOAD_UNKNOWN: { exitCode: 3, retryable: false },
  NOT_AUTHENTICATED: { exitCode: 4, retryable: false },
  NOT_ALLOWED: { exitCode: 4, retryable: false },
  REFUSED: { exitCode: 5, retryable: false },
  DATABASE_UNREACHABLE: { exitCode: 6, retryable: true },
  DATABASE_AUTH: { exitCode: 6, retryable: false },
  DATABASE_SCHEMA: { exitCode: 6, retryable: false },
  DATABASE_AMNESIA: { exitCode: 6, retryable: true },
  DATABASE_EMBEDDED: { exitCode: 6, retryable: false },
  QUEUE_UNREACHABLE: { exitCode: 6, retryable: true },
  SERVICE_UNREACHABLE: { exitCode: 6, retryable: true },
  SERVICE_PROTOCOL: { exitCode: 6, retryable: false },
  AWS_UNREACHABLE: { exitCode: 6, retryable: true },
  AWS_AUTH: { exitCode: 6, retryable: false },
  AWS_CAPACITY: { exitCode: 1, retryable: false },
  AWS_QUOTA: { exitCode: 1, retryable: false },
  AWS_THROTTLED: { exitCode: 6, retryable: true },
  AWS_CONFIG: { exitCode: 1, retryable: false },
  AWS_IDEMPOTENCY: { exitCode: 1, retryable: false },
  AWS_UNKNOWN_OUTCOME: { exitCode: 6, retryable: true },
  SSH_UNREACHABLE: { exitCode: 1, retryable: true },
  SSH_HOST_KEY: { exitCode: 1, retryable: false },
  SSH_AUTH: { exitCode: 1, retryable: false },
  SSH_COMMAND: { exitCode: 1, retryable: false },
  PORT_IN_USE: { exitCode: 6, retryable: false },
  TIMEOUT: { exitCode: 7, retryable: true },
  INTERNAL: { exitCode: 1, retryable: false },
} as const satisfies Record<string, { exitCode: number; retryable: boolean }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** What an {@link AppError} carries besides its code and sentence. */
export interface AppErrorOptions {
  /** What the user can do about it; one sentence, a command to paste where there is one. */
  readonly remedy: string;
  readonly cause?: unknown;
  /** Machine-readable extras; never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** An operating failure. `message` is one sentence without a trailing stack; the remedy travels with it. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly remedy: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.remedy = options.remedy;
    this.details = options.details ?? {};
  }

  get exitCode(): number {
    return ERROR_CODES[this.code].exitCode;
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }
}

/** One line for logs and rows: the message of an error of any kind, with the messages of its causes. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  // Five levels are more than any chain of ours has; the bound keeps a cyclic `cause` from looping.
  for (let level = 0, current: unknown = error; level < 5 && current !== undefined && current !== null; level += 1) {
    if (!(current instanceof Error)) {
      parts.push(typeof current === 'string' ? current : (JSON.stringify(current) ?? typeof current));
      break;
    }
    parts.push(messageOf(current));
    current = current.cause;
  }
  return parts.filter((part, index) => index === 0 || !parts[index - 1]?.includes(part)).join(': ');
}

/** A connection refused at both addresses of `localhost` is an AggregateError without a message: its errors have them. */
function messageOf(error: Error): string {
  if (error.message !== '') return error.message;
  const [first]: readonly unknown[] = error instanceof AggregateError ? error.errors : [];
  return first instanceof Error && first.message !== '' ? first.message : error.name;
}
