import type { ScriptDialect } from './dialect.ts';

/** POSIX: `sh` reads the script from its standard input. */
export const shDialect: ScriptDialect = {
  hasModes: true,
  prepare: (script) => ({
    program: 'sh -s',
    command: 'sh -s',
    input: wrapScript(script),
    files: [],
    end: null,
    clean: (output) => output,
  }),
};

/**
 * Braces make `sh` read the script to its end before it runs the first command: one that arrives in part runs not at all,
 * and commands that read standard input find it empty instead of eating the rest of the script. Line numbers stay.
 */
export function wrapScript(script: string): string {
  return `{ : ; ${script}\n} </dev/null\n`;
}
