import { AppError } from '../model/errors.ts';
import type { RecipeShell } from '../model/policy.ts';
import { quoteForPowershell } from '../model/powershell.ts';

const NAME_PATTERN = /^[A-Z_][A-Z0-9_]*$/;
/**
 * Names that change how every later program runs (loader, search path, start-up files, word splitting), or that bash
 * holds read-only, so that setting them would stop the file half-way.
 */
const DENIED_NAMES: ReadonlySet<string> = new Set([
  'BASHOPTS',
  'BASH_ENV',
  'BASH_VERSINFO',
  'ENV',
  'EUID',
  'IFS',
  'PATH',
  'PPID',
  'SHELLOPTS',
  'UID',
]);
const DENIED_PREFIX = 'LD_';
/** The same for Windows: where programs, modules and libraries are looked for, and where Windows itself is. */
const DENIED_ON_WINDOWS: ReadonlySet<string> = new Set([
  'COMSPEC',
  'PATH',
  'PATHEXT',
  'PROGRAMDATA',
  'PSMODULEPATH',
  'SYSTEMDRIVE',
  'SYSTEMROOT',
  'USERPROFILE',
  'WINDIR',
]);

/**
 * `value` as one word of POSIX shell: single quotes, in which nothing is special but the quote itself. Throws
 * POLICY_INVALID for what no shell variable can hold (NUL) or no file can carry unchanged (half of a surrogate pair).
 */
export function quoteForSh(value: string): string {
  if (value.includes('\0') || !value.isWellFormed()) {
    throw new AppError('POLICY_INVALID', 'A value for the join recipe holds a NUL or broken Unicode.', {
      remedy: 'Remove the character; pass binary data base64-encoded.',
    });
  }
  return `'${value.replaceAll("'", String.raw`'\''`)}'`;
}

/** Why `name` may not be set for a recipe, as the end of a sentence that begins with the name; null when it may. */
export function whyEnvNameRefused(name: string, shell: RecipeShell = 'sh'): string | null {
  if (!NAME_PATTERN.test(name)) return 'is not made of capital letters, digits and underscores';
  const isDenied =
    shell === 'powershell' ? DENIED_ON_WINDOWS.has(name) : DENIED_NAMES.has(name) || name.startsWith(DENIED_PREFIX);
  return isDenied ? 'changes how the shell itself works' : null;
}

const SETTING: Readonly<Record<RecipeShell, (name: string, value: string) => string>> = {
  sh: (name, value) => `export ${name}=${quoteForSh(value)}\n`,
  powershell: (name, value) => `$env:${name} = ${quoteForPowershell(value)}\n`,
};

/**
 * A file that sets `vars` when it is read with `.`, sorted by name, so that equal input gives equal bytes. SSH's own `env`
 * requests are no channel for this: servers drop them silently. Throws POLICY_INVALID for a refused name or value.
 */
export function renderEnvFile(vars: Readonly<Record<string, string>>, shell: RecipeShell = 'sh'): string {
  const lines = Object.entries(vars)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => {
      const refusal = whyEnvNameRefused(name, shell);
      if (refusal !== null) {
        throw new AppError('POLICY_INVALID', `The variable ${JSON.stringify(name)} of the join recipe ${refusal}.`, {
          remedy: 'Rename the variable in join.recipe.env and in the recipe.',
        });
      }
      return SETTING[shell](name, value);
    });
  return lines.join('');
}
