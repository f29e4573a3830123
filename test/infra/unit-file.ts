import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findServerProgram } from '../support/server-program.ts';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Null when this machine has none: `describe.skipIf(systemdAnalyze === null)`. */
export const systemdAnalyze = findServerProgram({ name: 'systemd-analyze', debianPackage: 'systemd' });

/** A directive may come several times; `Environment` and `SystemCallFilter` do. */
export type Directives = ReadonlyMap<string, readonly string[]>;

export function readUnit(name: string): string {
  return readFileSync(`${ROOT}infra/systemd/${name}`, 'utf8');
}

/** Every directive of every section; our units use no name in two sections and no continuation lines. */
export function parseUnit(text: string): Directives {
  const directives = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const match = /^([A-Za-z]+)=(.*)$/.exec(line);
    if (match === null) continue;
    const [, name = '', value = ''] = match;
    directives.set(name, [...(directives.get(name) ?? []), value]);
  }
  return directives;
}

export function one(directives: Directives, name: string): string {
  const values = directives.get(name) ?? [];
  if (values.length !== 1) throw new Error(`${name} is there ${values.length} times`);
  return values[0] ?? '';
}

/** Exit code and all that it said. */
export async function runAnalyze(args: readonly string[]): Promise<{ readonly code: number; readonly said: string }> {
  if (systemdAnalyze === null) throw new Error('there is no systemd-analyze here: guard the suite with systemdAnalyze');
  try {
    const { stdout, stderr } = await promisify(execFile)(systemdAnalyze, [...args], { timeout: 15_000 });
    return { code: 0, said: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
    if (typeof code !== 'number') throw error;
    return { code, said: `${stdout ?? ''}${stderr ?? ''}` };
  }
}
