import type { RecipeShell, WorkloadPolicy } from '../model/policy.ts';
import type { MachineDialect } from './dialect.ts';
import { powershellMachine } from './dialect-powershell.ts';
import { shMachine } from './dialect-sh.ts';

const DIALECTS: Readonly<Record<RecipeShell, MachineDialect>> = { sh: shMachine, powershell: powershellMachine };

/** What the machines of a policy are told. */
export function machineDialect({ join }: Pick<WorkloadPolicy, 'join'>): MachineDialect {
  return DIALECTS[join.recipe.shell ?? 'sh'];
}
