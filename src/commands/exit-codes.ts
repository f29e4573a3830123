/** The one table of exit codes, shown by `spillway help exit-codes` and in every command's help. */
export const EXIT_CODES: readonly { readonly code: number; readonly meaning: string }[] = [
  { code: 0, meaning: 'done; an empty list too' },
  { code: 1, meaning: 'failed' },
  { code: 2, meaning: 'wrong usage, wrong configuration or invalid policy' },
  { code: 3, meaning: 'not found' },
  { code: 4, meaning: 'not authenticated or not allowed' },
  { code: 5, meaning: 'refused by a guard: budget, limit or protection' },
  { code: 6, meaning: 'service, database, queue or AWS unreachable' },
  { code: 7, meaning: 'a time-out ran out' },
  { code: 8, meaning: 'pending: approval open, still draining' },
  { code: 10, meaning: 'changes or findings present; only with --detailed-exitcode or --check' },
  { code: 130, meaning: 'ended by Ctrl-C' },
];

/** What every command that talks to the service may end with. */
export const COMMON_EXIT_CODES: readonly number[] = [0, 1, 2, 4, 6, 130];

/** `spillway machine drain --wait`: not gone yet. */
export const EXIT_PENDING = 8;
/** `spillway plan --detailed-exitcode`, `spillway migrate --check`: there is something to do. */
export const EXIT_CHANGES = 10;
/** 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130;
