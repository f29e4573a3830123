/** What a machine is told in its own shell, from the first contact to the agent's start: one interface, two implementations. */
import type { UploadFile } from '../ports/shell.ts';

/** EX_TEMPFAIL of sysexits.h: another join is at work on the machine. */
export const JOIN_BUSY_EXIT_CODE = 75;
/** EX_NOPERM and EX_UNAVAILABLE of sysexits.h: nobody may change host keys, or there is no ssh-keygen. Trying again changes neither. */
export const NO_RIGHT_EXIT_CODE = 77;
export const NO_KEYGEN_EXIT_CODE = 69;
/** Of a recipe's output, its end; with the last words of the agent it fits into what a session gives back. */
export const RECIPE_OUTPUT_BYTES = 48 * 1024;

export interface MachineDialect {
  /** Where the agent, the recipe and its variables lie, from the home directory. */
  readonly places: { readonly agent: string; readonly recipe: string; readonly env: string };
  /** What else the join needs there. */
  readonly helpers: readonly UploadFile[];
  /** A text as a file of that name has to be. */
  content(path: string, text: string): string;
  /** Starts recipe and agent; safe to repeat. Exits with {@link JOIN_BUSY_EXIT_CODE} while another join is at work. */
  readonly joinScript: string;
  /** Makes the next host key, once, and prints its public half. The private half never leaves the machine. */
  readonly prepareHostKey: string;
  /** Puts the key in place that has this public half, its proof beside it, and makes sshd read it. Safe to repeat. */
  activateHostKey(key: string, proof: string): string;
  /** Prints what the machine has to show for a key of its own. */
  readonly proofOfHostKey: string;
}
