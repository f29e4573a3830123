/** How scripts are run on a host: the only place of this folder that knows one shell from another. */
import type { UploadFile } from '../ports/shell.ts';

/** One script, ready to be run. */
export interface PreparedScript {
  /** What must be there to run it, for people. */
  readonly program: string;
  /** What the host runs. Nothing of a policy is part of it. */
  readonly command: string;
  /** Its standard input. */
  readonly input: string;
  /** What must lie on the host before. */
  readonly files: readonly UploadFile[];
  /** How the script ended, by the end of its standard output; null = it does not say, and the host's word counts. */
  readonly end: ((tail: string) => number | null) | null;
  /** The script's output, of everything that came. */
  readonly clean: (output: string) => string;
}

export interface ScriptDialect {
  /** Whether files have modes. */
  readonly hasModes: boolean;
  /** `deadlineMs`: what runs longer has to end on the host, too. */
  prepare(script: string, deadlineMs: number): PreparedScript;
}
