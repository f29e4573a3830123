import { VARIABLES, hasFileForm } from './variables.ts';
import type { VariableDoc } from './variables.ts';

/** The text of `.env.example`: every variable with its meaning and default, all commented out. */
export function renderEnvExample(): string {
  const own = VARIABLES.filter((variable) => !variable.passThrough).map(renderVariable);
  const sdk = VARIABLES.filter((variable) => variable.passThrough).map(renderVariable);
  return [
    '# Settings of Spillway. Everything has a default: uncomment only what you change, then load the file with',
    '#   set -a; . ./.env; set +a',
    '# or name it in EnvironmentFile= of the systemd unit. Unknown SPILLWAY_* variables are refused.',
    '# Durations are written 250ms 90s 5m 1h30m 14d. Relative paths start at the working directory.',
    '',
    ...own,
    '# Read by the AWS SDK itself, as are all its other settings.',
    '',
    ...sdk,
  ].join('\n');
}

function renderVariable(variable: VariableDoc): string {
  const without = variable.defaultMeaning === undefined ? 'not set' : `not set = ${variable.defaultMeaning}`;
  const lines = [`# ${variable.meaning}.`, `# Default: ${variable.default ?? without}.`];
  if (hasFileForm(variable)) lines.push(`# Secret: ${variable.name}_FILE may name a file that holds it instead.`);
  else if (variable.secret) lines.push('# Secret.');
  return [...lines, `#${variable.name}=${variable.default ?? ''}`, ''].join('\n');
}
