/**
 * Goal: names complete a command line, and no name runs. Method: the real script in a real bash, a real service over a real
 * database. The program that the script calls has all the time it wants, so that a slow machine changes nothing.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe } from 'vitest';
import { NAME_KINDS } from '../../src/ports/names.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { aMachine, anAgent, aPolicy, someHex } from '../support/builders.ts';
import { spillway, SPILLWAY, test as base } from './spillway.ts';

/** What bash offers for the last of the words. */
async function offered(socketPath: string, words: readonly string[]): Promise<string[]> {
  const { stdout: script } = await spillway(['completion', 'bash']);
  const program = `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _spillway; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const env = { PATH: process.env['PATH'], SPILLWAY_SOCKET: socketPath };
  const { stdout, stderr } = await promisify(execFile)('bash', ['--norc', '-c', program, 'bash', ...words], { env });
  return [...stdout.trim().split('\n'), ...(stderr === '' ? [] : [`said: ${stderr}`])];
}

const test = base.extend<{ complete: (...words: string[]) => Promise<string[]>; socketPath: string }>({
  socketPath: async ({ service }, use) => use(service.socketPath),
  complete: async ({ socketPath }, use) => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-completion-'));
    const patient = join(folder, 'spillway');
    await writeFile(patient, `#!/bin/sh\nexec '${SPILLWAY}' "$@" --timeout 60s\n`, { mode: 0o700 });
    await use(async (...words) => await offered(socketPath, [patient, ...words]));
    await rm(folder, { recursive: true });
  },
});

describe('bash offers', () => {
  test('agents of the datacenter where orders are taken, all of them where they are looked at', async ({
    db,
    complete,
    expect,
  }) => {
    await anAgent(db, { name: 'rack-1' });
    await anAgent(db, { name: 'rack-2' });
    await anAgent(db, { name: 'rack-2' });
    await anAgent(db, { name: 'rack-3', removed: true });
    await aMachine(db, 'ready', { agent: { name: 'rack-9' } });
    expect(await complete('agent', 'cordon', 'ra')).toEqual(['rack-1', 'rack-2']);
    expect(await complete('agent', 'drain', '--wait', 'rack-1', 'rack-2')).toEqual(['rack-2']);
    expect(await complete('agent', 'remove', 'rack-1', '')).toEqual(['rack-1', 'rack-2']);
    expect(await complete('agent', 'show', 'ra')).toEqual(['rack-1', 'rack-2', 'rack-9']);
    expect(await complete('explain', 'agent', 'rack-9')).toEqual(['rack-9']);
    expect(await complete('agent', 'show', '--d')).toEqual(['--debug']);
    expect(await complete('agent', 'show', '-o', 'js')).toEqual(['json', 'jsonl']);
  });

  test('machines that live, and workloads whose policy is in force, after their flag too', async ({
    db,
    complete,
    expect,
  }) => {
    const [one, two] = [await aMachine(db, 'ready'), await aMachine(db, 'joining')];
    await aMachine(db, 'terminated');
    const planning = createPlanningStore(db);
    await planning.recordPolicies([{ policy: aPolicy({ name: 'encode' }), hash: someHex(64) }]);
    await planning.recordPolicies([{ policy: aPolicy({ name: 'render' }), hash: someHex(64) }]);
    const both = [one.id, two.id].toSorted();
    expect(await complete('machine', 'drain', 'mc-')).toEqual(both);
    expect(await complete('machine', 'drain', one.id, 'mc-')).toEqual(both);
    expect(await complete('machine', 'show', two.id.slice(0, -1))).toContain(two.id);
    expect(await complete('why-not', '')).toEqual(['render']);
    expect(await complete('task', 'submit', '-w', 'r')).toEqual(['render']);
    expect(await complete('machine', 'list', '--workload', '')).toEqual(['render']);
  });

  test('no name that a shell would read as more than a name', async ({ db, complete, expect }) => {
    for (const name of ['$(echo owned)', '`id`', 'a b', '-rf', '*', 'rack-1']) await anAgent(db, { name });
    expect(await complete('agent', 'cordon', '')).toEqual(['rack-1']);
  });

  test('nothing, and says nothing, while no service is there', async ({ expect }) => {
    expect(await offered('/tmp/spillway-no-such.sock', [SPILLWAY, 'agent', 'cordon', 'ra'])).toEqual(['']);
  });
});

describe('names', () => {
  test('of a kind that there is not end with 2 and the kinds', async ({ expect }) => {
    const run = await spillway(['completion', 'names', 'machine']);
    expect([run.exitCode, run.stdout]).toEqual([2, '']);
    expect(run.stderr).toContain('did you mean machines?');
  });

  test('with wrong settings are none, in silence', async ({ expect }) => {
    const env = { SPILLWAY_PLAN_INTERVAL: '5' };
    expect(await spillway(['completion', 'names', 'machines'], { env })).toEqual({
      exitCode: 0,
      stdout: '',
      stderr: '',
    });
  });

  test.for(['zsh', 'fish'])('are asked for by the script of %s, too', async (shell, { expect }) => {
    const { stdout } = await spillway(['completion', shell]);
    expect(stdout).toContain('completion names');
    for (const kind of NAME_KINDS) expect(stdout).toContain(kind);
  });
});
