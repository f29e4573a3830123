import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parsePolicy } from '../../src/policy/parse.ts';
import { spillway } from '../commands/spillway.ts';
import { mistakesOf } from '../support/powershell.ts';
import { CASES } from './cases.ts';
import { findProgram, RECIPES, SHELLS } from './sandbox.ts';

const folders = readdirSync(RECIPES)
  .filter((name) => statSync(join(RECIPES, name)).isDirectory())
  .sort();
/** Those of POSIX machines; the others cannot be run here. */
const shFolders = folders.filter((name) => existsSync(join(RECIPES, name, 'join.sh')));
const scripts = readdirSync(RECIPES, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.sh'));

test('the table of the README has every recipe, and every recipe for sh is tried', () => {
  const readme = readFileSync(join(RECIPES, 'README.md'), 'utf8');
  const named = [...readme.matchAll(/^\| \[([a-z0-9]+)\]\(\1\) \|/gm)].map(([, name]) => name);
  expect(named.map(String).sort()).toEqual(folders);
  expect(Object.keys(CASES).sort()).toEqual(shFolders);
  expect(folders.filter((name) => !shFolders.includes(name))).toEqual(['windows']);
});

describe.each(folders)('the policy of %s', (name) => {
  const file = join(RECIPES, name, 'policy.yaml');
  const text = readFileSync(file, 'utf8');

  test('is valid, and every file that it names is there', () => {
    // The private key is on the user's machine; any file that is there stands in for it.
    const result = parsePolicy(text.replace('/etc/spillway/id_ed25519', file), { file });
    expect(result.ok ? [] : result.issues).toEqual([]);
  });

  test.runIf(shFolders.includes(name))('calls only halves that the recipe brings and leaves on the machine', () => {
    const result = parsePolicy(text, { file, checkFiles: false });
    if (!result.ok) throw new Error('the policy is wrong');
    const { join: joining, drain } = result.policy;
    const brought = (joining.recipe.files ?? [])
      .map((path) => basename(path, '.sh'))
      .filter((half) => half !== 'common');
    const { beforeDrain, beforeTerminate, checkpoint = null } = drain.hooks;
    const called = [joining.ready.command, beforeDrain, beforeTerminate, checkpoint]
      .filter((command) => command !== null)
      .map((command) => command.replace('/usr/local/lib/spillway/', ''));
    expect(called.filter((half) => !brought.includes(half))).toEqual([]);
    // What is brought and not called by the policy is what the agent or the other halves call.
    expect(brought.filter((half) => !called.includes(half) && !['probe', 'run'].includes(half))).toEqual([]);
    const script = readFileSync(joining.recipe.script ?? '', 'utf8');
    const installed = /^halves (.*)$/m.exec(script)?.[1]?.split(' ') ?? [];
    expect(installed.sort()).toEqual(brought.sort());
  });
});

test('the recipe for Windows is PowerShell, and so is every command of its policy', () => {
  const file = join(RECIPES, 'windows/policy.yaml');
  const result = parsePolicy(readFileSync(file, 'utf8'), { file, checkFiles: false });
  if (!result.ok) throw new Error('the policy is wrong');
  const { join: joining, drain } = result.policy;
  const script = readFileSync(joining.recipe.script ?? '', 'utf8');
  expect(mistakesOf(script)).toEqual([]);
  const asked = new Set([...script.matchAll(/\$env:([A-Z_]+)/g)].map(([, variable]) => variable));
  for (const variable of Object.keys(joining.recipe.env)) expect([...asked]).toContain(variable);
  const { beforeDrain, beforeTerminate } = drain.hooks;
  const commands = [joining.ready.command, beforeDrain, beforeTerminate, joining.recipe.env['PROBE'] ?? null];
  for (const command of commands.filter((each) => each !== null)) expect(mistakesOf(command)).toEqual([]);
});

test('the command line finds all policies valid', async () => {
  const files = folders.map((name) => join(RECIPES, name, 'policy.yaml'));
  for (const file of files) {
    const { exitCode, stderr } = await spillway(['policy', 'validate', file, '--offline']);
    expect([file, exitCode, stderr]).toEqual([file, 0, '']);
  }
});

test.each(SHELLS)('every script is understood by %s', (_, [program = '', ...args]) => {
  for (const name of scripts) execFileSync(program, [...args, '-n', join(RECIPES, name)]);
  expect(scripts.length).toBeGreaterThan(folders.length);
});

const shellcheck = findProgram('shellcheck');
if (shellcheck === null) process.stderr.write('SKIPPED: no recipe is looked at by shellcheck: it is not installed\n');

test.skipIf(shellcheck === null)('shellcheck finds nothing to say about any script', () => {
  const said = execFileSync('shellcheck', [
    '-x',
    '-s',
    'sh',
    '-f',
    'gcc',
    ...scripts.map((name) => join(RECIPES, name)),
  ]);
  expect(said.toString()).toBe('');
});
