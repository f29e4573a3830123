/**
 * Goal: what is sent to a machine with Windows means what we mean, whatever a policy says, and its answer is read for what it is.
 * Method: PowerShell's grammar, and a host that takes nothing else. No PowerShell has run any of it.
 */
import * as fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { renderUserData } from '../../src/cloud/user-data.ts';
import { powershellMachine } from '../../src/jobs/dialect-powershell.ts';
import { AppError } from '../../src/model/errors.ts';
import { quoteForPowershell, wholePowershellScript } from '../../src/model/powershell.ts';
import type { CommandResult } from '../../src/ports/shell.ts';
import { powershellDialect } from '../../src/ssh/powershell-dialect.ts';
import { renderEnvFile, whyEnvNameRefused } from '../../src/ssh/quote.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { literalsOf, mistakesOf, textsOf } from '../support/powershell.ts';
import { until } from '../support/wait.ts';
import { startWindowsHost, type WindowsHost, type WindowsHostOptions } from './windows-host.ts';
import { makeKeyPair } from './ssh-server.ts';

const shell = createShell();
const hosts: WindowsHost[] = [];

afterEach(() => {
  for (const host of hosts.splice(0)) host.stop();
});

async function hostThat(run: WindowsHostOptions['run'], more: Partial<WindowsHostOptions> = {}): Promise<WindowsHost> {
  const host = await startWindowsHost({ run, ...more });
  hosts.push(host);
  return host;
}

async function runOn(host: WindowsHost, script: string, limits = {}): Promise<CommandResult> {
  return await shell.withSession(
    host.target,
    20_000,
    async (session) => await session.runScript(script, { deadlineMs: 10_000, ...limits }),
  );
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => 'it succeeded',
    (reason: unknown) => reason,
  );
  if (!(error instanceof AppError)) throw error;
  return error.code;
}

/** What would end a string, begin an expression or be lost in another encoding. */
const nasty = fc.constantFrom(
  "'",
  '\u2018',
  '\u2019',
  '\u201a',
  '\u201b',
  '"',
  '$(',
  '`',
  '\n',
  '\r\n',
  '}',
  '#',
  '\u{1F600}',
  '@"',
  ';',
);
const anyText = fc
  .array(fc.oneof(nasty, fc.string({ unit: 'binary', maxLength: 3 })), { maxLength: 8 })
  .map((parts) => parts.join('').replaceAll('\0', ''));

describe('a value', () => {
  test('comes back from the syntax tree as the one string it was, whatever it holds', () => {
    fc.assert(
      fc.property(anyText, (value) => {
        const text = `$a = ${quoteForPowershell(value)}\nWrite-Output $a\n`;
        expect(mistakesOf(text)).toEqual([]);
        expect(literalsOf(text)).toEqual([value]);
      }),
      { seed: 3, numRuns: 500 },
    );
  });

  test('has each quote that PowerShell knows twice', () => {
    expect(quoteForPowershell("a'b\u2018c\u2019d\u201Ae\u201Bf")).toBe(
      "'a''b\u2018\u2018c\u2019\u2019d\u201A\u201Ae\u201B\u201Bf'",
    );
  });

  test.each(['a\0b', '\uD800'])('that cannot be carried unchanged is refused (%j)', (value) => {
    expect(() => quoteForPowershell(value)).toThrow(AppError);
  });

  test('of a recipe becomes one assignment, and nothing else', () => {
    const name = fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,6}$/);
    fc.assert(
      fc.property(
        fc.dictionary(
          name.map((text) => `V${text}`),
          anyText,
          { minKeys: 1, maxKeys: 5 },
        ),
        (vars) => {
          const text = renderEnvFile(vars, 'powershell');
          const sorted = Object.entries(vars).sort(([a], [b]) => (a < b ? -1 : 1));
          expect(mistakesOf(text)).toEqual([]);
          expect(literalsOf(text)).toEqual(sorted.map(([, value]) => value));
          expect(textsOf(text, 'assignment_expression')).toHaveLength(sorted.length);
          expect(textsOf(text, 'variable')).toEqual(sorted.map(([key]) => `$env:${key}`));
        },
      ),
      { seed: 5, numRuns: 200 },
    );
  });

  test.each(['PATH', 'PSMODULEPATH', 'SYSTEMROOT', 'USERPROFILE', 'lower'])('under the name %s is refused', (name) => {
    expect(whyEnvNameRefused(name, 'powershell')).not.toBeNull();
    expect(() => renderEnvFile({ [name]: 'x' }, 'powershell')).toThrow(AppError);
  });
});

describe('every text that is sent', () => {
  const key = makeKeyPair().public;
  const user = { sshUser: 'administrator', authorizedKey: `${key} it's me`, platform: 'windows' as const };
  const keys = { privateOpenSsh: makeKeyPair().private, publicOpenSsh: key };
  const userData = (hostKey: 'image' | typeof keys): string => renderUserData({ ...user, hostKey });
  const script = (text: string): string => text.replace(/^<powershell>\n/, '').replace(/<\/powershell>\n$/, '');
  const start = (): string => {
    const { command } = powershellDialect.prepare('whatever', 5000);
    return Buffer.from(command.split(' ').at(-1) ?? '', 'base64').toString('utf16le');
  };

  test.each([
    ['the command line', start()],
    ['a hook', wholePowershellScript('param(\n  $a = 1\n)\nGet-Service $a | Out-Null')],
    ['the join', wholePowershellScript(powershellMachine.joinScript)],
    ['what runs a recipe', powershellMachine.helpers[0]?.content ?? ''],
    ['the next host key', wholePowershellScript(powershellMachine.prepareHostKey)],
    ['its activation', wholePowershellScript(powershellMachine.activateHostKey(key, 'ab'.repeat(32)))],
    ['its proof', wholePowershellScript(powershellMachine.proofOfHostKey)],
    ['user-data with a host key', script(userData(keys))],
    ['user-data without', script(userData('image'))],
  ])('%s is PowerShell', (_, text) => {
    expect(text.length).toBeGreaterThan(100);
    expect(mistakesOf(text)).toEqual([]);
  });

  test('the grammar finds what is none', () => {
    expect(mistakesOf('if ( { x')).not.toEqual([]);
    expect(mistakesOf("$a = 'one' two'\n")).not.toEqual([]);
  });

  test('the command line is short enough for cmd.exe, and the same for every script', () => {
    const [short, long] = ['x', 'x'.repeat(100_000)].map(
      (text) => powershellDialect.prepare(text, 86_400_000).command.length,
    );
    expect(long).toBe(short);
    expect(short).toBeLessThan(8191);
  });

  test('user-data holds both keys as they are, and says by which lines it is taken for a script', () => {
    const text = userData(keys);
    expect(text).toMatch(/^<powershell>\n[^]*\n<\/powershell>\n$/);
    const literals = literalsOf(script(text));
    expect(literals).toEqual(expect.arrayContaining([keys.privateOpenSsh, key, user.authorizedKey, 'administrator']));
    expect(userData(keys)).toBe(text);
    expect(userData('image')).not.toContain('ssh_host_');
  });

  test('sshd starts only when its keys are in place and protected', () => {
    const text = userData(keys);
    const order = [
      'Stop-Service',
      'ssh_host_*',
      'Write-Protected $key',
      'administrators_authorized_keys',
      'Start-Service',
    ];
    const places = order.map((word) => text.indexOf(word));
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    expect(places).not.toContain(-1);
  });
});

describe('a session with Windows', () => {
  test.each(['cmd', 'powershell'] as const)(
    'tells how a script ended to the digit, with %s as the default shell',
    async (defaultShell) => {
      let next = 0;
      const host = await hostThat(() => ({ exitCode: next, stdout: 'said\r\n' }), { defaultShell });
      for (next of [0, 1, 3, 75, 255, -1073741819]) {
        expect(await runOn(host, 'exit 1')).toEqual({
          exitCode: next,
          signal: null,
          output: 'said\n',
          truncated: false,
        });
      }
      expect(host.modesSet).toEqual([]);
    },
  );

  test('brings a script of any signs to the byte, however long', async () => {
    const host = await hostThat(() => ({ exitCode: 0 }));
    const anyScript = anyText.map((text) => `Write-Output ${quoteForPowershell(text)}`);
    const scripts = [...fc.sample(anyScript, { numRuns: 10, seed: 9 }), `Write-Output '${'x'.repeat(200_000)}'`];
    await shell.withSession(host.target, 60_000, async (session) => {
      for (const script of scripts)
        expect(await session.runScript(script, { deadlineMs: 10_000 })).toMatchObject({ exitCode: 0 });
    });
    expect(host.runs.map(({ script }) => script)).toEqual(scripts);
  });

  test('sends scripts that are removed from the machine when they have run', () => {
    const start = powershellDialect.prepare('x', 700).command.split(' ').at(-1) ?? '';
    expect(Buffer.from(start, 'base64').toString('utf16le')).toMatch(/finally \{\s+Remove-Item -LiteralPath \$file/);
  });

  test('reads UTF-8 as it comes, without the XML that PowerShell writes about its progress, and with that of its errors', async () => {
    const progress =
      '#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="x"><Obj S="progress" RefId="0"><MS><PR N="Record"><AV>Preparing</AV></PR></MS></Obj></Objs>';
    const error =
      '#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="x"><S S="Error">it &lt;failed&gt;_x000D__x000A_</S><S S="Error">_x001B_[2Jhere</S></Objs>';
    const host = await hostThat(() => ({
      exitCode: 1,
      stdout: Buffer.from('größer 漢字 😀\r\n'),
      stderr: `${progress}${error}`,
    }));
    const { output } = await runOn(host, 'x');
    expect(output).toContain('größer 漢字 😀\n');
    expect(output).toContain('it <failed>\nhere');
    expect(output).not.toMatch(/CLIXML|Objs|Preparing|spillway-exit/);
  });

  test('knows the end of a script that says more than is kept', async () => {
    const host = await hostThat(() => ({ exitCode: 75, stdout: 'x'.repeat(100_000) }));
    const result = await runOn(host, 'x', { outputBytesMax: 1000 });
    expect(result).toEqual({ exitCode: 75, signal: null, output: 'x'.repeat(1000), truncated: true });
  });

  test('takes no word of a script for its end', async () => {
    const host = await hostThat(() => ({
      exitCode: 3,
      stdout: 'spillway-exit:0\r\nspillway-exit:11111111-1111-4111-8111-111111111111:0\r\n',
    }));
    expect((await runOn(host, 'x')).exitCode).toBe(3);
  });

  test('gives the machine the same time for a script as it takes itself, so that nothing goes on behind its back', async () => {
    const host = await hostThat(() => 'hang');
    expect(await codeOf(runOn(host, 'Start-Sleep 99', { deadlineMs: 700 }))).toBe('TIMEOUT');
    expect(host.runs).toEqual([{ script: 'Start-Sleep 99', deadlineMs: 700 }]);
    const start = powershellDialect.prepare('x', 700).command.split(' ').at(-1) ?? '';
    expect(Buffer.from(start, 'base64').toString('utf16le')).toMatch(
      /WaitForExit\(700\)[^]*taskkill\.exe'\) \/T \/F \/PID \$child\.Id/,
    );
  });

  test('that breaks says so, and one without PowerShell says another thing', async () => {
    expect(await codeOf(runOn(await hostThat(() => 'cut'), 'x'))).toBe('SSH_UNREACHABLE');
    expect(await codeOf(runOn(await hostThat(() => 'no powershell'), 'x'))).toBe('SSH_COMMAND');
  });

  test('ends with its connections closed', async () => {
    const host = await hostThat(() => ({ exitCode: 0 }));
    await runOn(host, 'x');
    await until('it is gone', async () => (host.sockets.size === 0 ? true : null));
    expect(host.sockets.size).toBe(0);
  });
});
