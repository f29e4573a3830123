import type { RecipeShell } from '../model/policy.ts';
import type { ScriptDialect } from './dialect.ts';
import { powershellDialect } from './powershell-dialect.ts';
import { shDialect } from './sh-dialect.ts';

const DIALECTS: Readonly<Record<RecipeShell, ScriptDialect>> = { sh: shDialect, powershell: powershellDialect };

/** The dialect of a host. */
export function dialectOf(shell: RecipeShell = 'sh'): ScriptDialect {
  return DIALECTS[shell];
}
