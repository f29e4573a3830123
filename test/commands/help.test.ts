import { execFile, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/commands/catalog.ts';
import { renderCliDocs } from '../../src/commands/cli-docs.ts';
import { EXIT_CODES } from '../../src/commands/exit-codes.ts';
import { NOUN_SUMMARIES } from '../../src/commands/help.ts';
import { parseInvocation } from '../../src/commands/program.ts';
import { ERROR_CODES } from '../../src/model/errors.ts';
import { spillway } from './spillway.ts';

const root = new URL('../../', import.meta.url);

describe('help', () => {
  test.each([['--help'], ['help'], []])('spillway %s lists every command on standard output', async (...args) => {
    const run = await spillway(args);
    expect([run.exitCode, run.stderr]).toEqual([0, '']);
    for (const spec of COMMANDS) expect(run.stdout).toContain(`  ${spec.path}`);
  });

  test('of a command has its parts in the order that people read them', async () => {
    const { stdout } = await spillway(['task', 'submit', '--help']);
    const titles = stdout.split('\n').filter((line) => /^[A-Z][A-Z ]+$/.test(line));
    expect(titles).toEqual([
      'USAGE',
      'EXAMPLES',
      'ARGUMENTS',
      'FLAGS',
      'GLOBAL FLAGS',
      'ENVIRONMENT',
      'EXIT CODES',
      'SEE ALSO',
    ]);
    expect(await spillway(['help', 'task', 'submit'])).toMatchObject({ stdout, exitCode: 0 });
  });

  test('of a group lists its commands', async () => {
    expect((await spillway(['machine'])).stdout).toContain('  machine show  ');
    // `plan` is a command itself, and its help is the command's.
    const commands = new Set(COMMANDS.map(({ path }) => path));
    const groups = COMMANDS.flatMap(({ path }) => (path.includes(' ') ? [path.split(' ')[0] ?? ''] : []));
    expect(new Set(groups.filter((group) => !commands.has(group)))).toEqual(new Set(Object.keys(NOUN_SUMMARIES)));
  });

  test('on exit codes has every code that an error may end with', async () => {
    const { stdout } = await spillway(['help', 'exit-codes']);
    const documented = EXIT_CODES.map(({ code }) => code);
    for (const { exitCode } of Object.values(ERROR_CODES)) expect(documented).toContain(exitCode);
    for (const code of documented) expect(stdout).toMatch(new RegExp(`^  ${code} `, 'm'));
  });

  test('on the environment lists every variable', async () => {
    const { VARIABLES } = await import('../../src/config/variables.ts');
    const { stdout } = await spillway(['help', 'environment']);
    for (const { name } of VARIABLES) expect(stdout).toContain(name);
  });

  test('on something unknown suggests what was meant', async () => {
    const run = await spillway(['help', 'enviroment']);
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('did you mean environment?');
  });
});

describe('every command', () => {
  test.each(COMMANDS.map((spec) => [spec.path, spec] as const))(
    '%s has examples that its own parser accepts',
    (_path, spec) => {
      for (const { command } of spec.examples) {
        // Only the part that is a command line of ours: not the pipes and redirections around it.
        const line = /(?:^|[^/]\b)spillway ([a-z].*?)(?: && | > |\)$|\) && |$)/.exec(command)?.[1] ?? '';
        const words = [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
          (match) => match[1] ?? match[2] ?? match[3] ?? '',
        );
        expect(parseInvocation(words, COMMANDS)).toMatchObject({ kind: 'run', spec: { path: spec.path } });
      }
      expect(spec.examples.length).toBeGreaterThan(0);
      expect(spec.summary).not.toMatch(/\.$/);
    },
  );

  test.each(COMMANDS.map((spec) => [spec.path, spec] as const))(
    '%s names only commands that exist under "see also"',
    (_path, spec) => {
      const known = [...COMMANDS.map((candidate) => candidate.path), 'help environment'];
      for (const also of spec.seeAlso ?? []) expect(known).toContain(also);
    },
  );
});

test('docs/cli.md is what the command data says (npm run generate)', async () => {
  expect(await readFile(new URL('docs/cli.md', root), 'utf8')).toBe(renderCliDocs());
});

test('docs/errors.md has exactly the codes of the program, with their exit codes', async () => {
  const rows = (await readFile(new URL('docs/errors.md', root), 'utf8'))
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  const documented = rows.map((row) => {
    const [code = '', exitCode = '', again = '', ...texts] = row
      .split('|')
      .slice(1, -1)
      .map((text) => text.trim());
    expect(texts.every((text) => text.length > 5) && texts.length === 3).toBe(true);
    return [code.replaceAll('`', ''), { exitCode: Number(exitCode), retryable: again === 'yes' }];
  });
  expect(Object.fromEntries(documented)).toEqual(ERROR_CODES);
  expect(documented).toHaveLength(Object.keys(ERROR_CODES).length);
});

describe('start-up', () => {
  /** What was loaded to run a command line, as file names; the hook runs in the same process and prints at its end. */
  async function loadedBy(...args: string[]): Promise<string[]> {
    const hook = `
      import { registerHooks } from 'node:module';
      import { writeSync } from 'node:fs';
      const loaded = [];
      registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
      process.on('exit', () => writeSync(3, JSON.stringify(loaded)));`;
    const run = spawnSync(
      fileURLToPath(new URL('node_modules/.bin/node', root)),
      [
        '--import',
        `data:text/javascript,${encodeURIComponent(hook)}`,
        '--',
        fileURLToPath(new URL('src/cli.ts', root)),
        ...args,
      ],
      {
        stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
        encoding: 'utf8',
        cwd: '/tmp',
        env: { SPILLWAY_SOCKET: '/tmp/spillway-no-such.sock' },
      },
    );
    return JSON.parse(run.output[3] ?? '') as string[];
  }

  const packagesOf = (urls: readonly string[]): Set<string> =>
    new Set(urls.flatMap((url) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? []));

  test('help and completion load nothing but commander', async () => {
    for (const args of [
      ['--help'],
      ['task', 'submit', '--help'],
      ['help', 'exit-codes'],
      ['completion', 'bash'],
      ['task', 'lst'],
    ]) {
      expect([args, [...packagesOf(await loadedBy(...args))]]).toEqual([args, ['commander']]);
    }
  });

  test('a command that asks the service loads zod for the settings, and neither Postgres, AWS nor an HTTP server', async () => {
    expect([...packagesOf(await loadedBy('status'))].toSorted()).toEqual(['commander', 'zod']);
  });
});

describe('completion', () => {
  test('bash accepts the script and completes words, flags and values', async () => {
    const { stdout: script } = await spillway(['completion', 'bash']);
    const complete = async (words: readonly string[]): Promise<string[]> => {
      const program = `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _spillway; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const { stdout } = await promisify(execFile)('bash', ['-c', program, 'bash', ...words]);
      return stdout.trim().split('\n');
    };
    expect(await complete(['spillway', 'ta'])).toEqual(['task']);
    expect(await complete(['spillway', 'task', 's'])).toEqual(['submit', 'show']);
    expect(await complete(['spillway', 'task', 'list', '--st'])).toEqual(['--state']);
    expect(await complete(['spillway', 'task', 'list', '--state', 'p'])).toEqual(['pending']);
    expect(await complete(['spillway', 'completion', 'z'])).toEqual(['zsh']);
    expect(await complete(['spillway', 'completion', 'names', '--de'])).toEqual(['--debug']);
    expect(await complete(['spillway', 'help', 'exi'])).toEqual(['exit-codes']);
    expect(await complete(['spillway', 'plan', 'r'])).toEqual(['replay']);
    expect(await complete(['spillway', 'plan', 'replay', '--p'])).toEqual(['--policy']);
    expect(await complete(['spillway', 'explain', ''])).toEqual(['plan', 'machine', 'agent']);
    expect(await complete(['spillway', 'why-not', '--scale-u'])).toEqual(['--scale-up']);
  });

  test.each(['zsh', 'fish'])('%s gets a script that names every command', async (shell) => {
    const { stdout } = await spillway(['completion', shell]);
    for (const spec of COMMANDS) expect(stdout).toContain(spec.path.split(' ').at(-1));
  });
});
