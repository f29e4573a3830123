/**
 * Goal: nobody can open an SSH connection that does not verify the host.
 * Method: the types demand a key, one file alone reaches the packages that could connect without, and it is read here.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, expectTypeOf, test } from 'vitest';
import type { ShellTarget } from '../../src/ports/shell.ts';
import { openConnection } from '../../src/ssh/connect.ts';

const SOURCE = join(import.meta.dirname, '../../src');

function sourceFiles(): string[] {
  return readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
}

test('a target without a host key does not type-check', () => {
  const keyless = { host: '127.0.0.1', port: 22, user: 'u', identityFile: '/k' };
  expectTypeOf(keyless).not.toExtend<ShellTarget>();
  expectTypeOf(openConnection).parameter(0).toEqualTypeOf<ShellTarget>();
});

test('outside the simulator one file alone makes SSH clients', () => {
  const makers = sourceFiles()
    .filter((file) => !file.startsWith('simulator/'))
    .filter((file) =>
      /new (?:NodeSSH|\w+\.Client|Client)\(|from 'node-ssh'/.test(readFileSync(join(SOURCE, file), 'utf8')),
    )
    .filter((file) => /'(?:node-ssh|ssh2)'/.test(readFileSync(join(SOURCE, file), 'utf8')));
  expect(makers).toEqual(['ssh/connect.ts']);
});

test('agent forwarding, passwords and questions appear nowhere in the options', () => {
  const read = (file: string): string => readFileSync(join(SOURCE, file), 'utf8');
  expect(read('ssh/connect.ts')).toContain('agentForward: false');
  const ways = [...read('ssh/login.ts').matchAll(/authHandler: (\[[^\]]*\])/g)].map(([, way]) => way);
  expect(new Set(ways)).toEqual(new Set(["['publickey']", "['agent']"]));
  for (const file of ['ssh/connect.ts', 'ssh/login.ts']) expect(read(file)).not.toMatch(/\b(?:password|tryKeyboard):/);
});

test('one file alone starts the installed ssh', () => {
  const starters = sourceFiles().filter((file) => readFileSync(join(SOURCE, file), 'utf8').includes("/bin/ssh'"));
  expect(starters).toEqual(['ssh/openssh-process.ts']);
});
