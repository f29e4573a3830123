import { createServer, type RequestListener } from 'node:http';
import { chmod, mkdtemp } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runCli, type CliEnvironment } from '../../src/commands/run.ts';
import { renderError } from '../../src/commands/render-error.ts';
import type { CliWiring } from '../../src/commands/types.ts';
import { AppError } from '../../src/model/errors.ts';
import { until } from '../support/wait.ts';
import { spillway, startSpillway } from './spillway.ts';

/** Runs a command line in this process, with wiring that the test replaces. */
async function cli(
  args: readonly string[],
  wiring: Partial<CliWiring>,
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const written = { stdout: '', stderr: '' };
  const refuse = async (): Promise<never> => Promise.reject(new Error('not wired in this test'));
  const environment: CliEnvironment = {
    streams: {
      stdout: { write: (text) => (written.stdout += String(text)) },
      stderr: { write: (text) => (written.stderr += String(text)) },
      env: {},
    },
    wiring: {
      readConfig: refuse,
      sleep: refuse,
      userName: () => 'ada',
      confirm: refuse,
      runService: refuse,
      migrate: refuse,
      readHistory: refuse,
      openShell: refuse,
      readAgentScript: refuse,
      acceptNewHost: refuse,
      simulateRegion: refuse,
      simulateChaos: refuse,
      ...wiring,
    },
    nowMs: () => 0,
    version: () => '1.2.3',
    onInterrupt: () => () => undefined,
  };
  return { exitCode: await runCli(args, environment), ...written };
}

describe('the edge', () => {
  test('turns a bug into one sentence that says so, the stack with --debug only', async () => {
    const readConfig = async (): Promise<never> => Promise.reject(new TypeError('x.y is not a function'));
    const plain = await cli(['status'], { readConfig });
    expect(plain).toEqual({
      exitCode: 1,
      stdout: '',
      stderr:
        'error: x.y is not a function (INTERNAL)\nfix: this is a bug of Spillway: run the command again with --debug and report what it prints\n',
    });
    expect((await cli(['status', '--debug'], { readConfig })).stderr).toContain('edge.test.ts');
  });

  test('hands on the exit code of the service', async () => {
    expect((await cli(['serve'], { readConfig: async () => ({}) as never, runService: async () => 7 })).exitCode).toBe(
      7,
    );
  });

  test('keeps control characters of an error from the terminal', () => {
    const error = new AppError('NOT_FOUND', 'no \u001b[2Jmachine', {
      remedy: 'look\u202e',
      cause: new Error('line\nbreak'),
    });
    expect(renderError(error, { json: false, debug: false }).text).toBe(
      'error: no \\x1b[2Jmachine (NOT_FOUND)\ncause: line\\nbreak\nfix: look\\u{202e}\n',
    );
  });

  test('keeps the lines of a message apart, and indented, so that none of them passes for one of ours', () => {
    const error = new AppError('POLICY_INVALID', 'not valid:\na.yaml:4:1: error\n\n  | ^^^^\u001b[2J', {
      remedy: 'mend it',
    });
    expect(renderError(error, { json: false, debug: false }).text).toBe(
      'error: not valid: (POLICY_INVALID)\n  a.yaml:4:1: error\n\n    | ^^^^\\x1b[2J\nfix: mend it\n',
    );
  });

  test('passes the flags of simulate region on', async () => {
    const asked: unknown[] = [];
    const simulateRegion = async (options: unknown): Promise<number> => {
      asked.push(options);
      return 0;
    };
    await cli(['simulate', 'region', '--port', '0', '--boot', '1500ms', '--seed', 'x', '--owner', 'me'], {
      simulateRegion,
    });
    await cli(['simulate', 'region'], { simulateRegion });
    expect(asked).toEqual([
      { port: 0, bootMs: 1500, seed: 'x', host: 'ssh2', owner: 'me' },
      { port: 4566, bootMs: 20_000, seed: 'spillway', host: 'ssh2' },
    ]);
  });
});

describe('what answers is not the service', () => {
  async function against(listener: RequestListener): Promise<{ exitCode: number | null; stderr: string }> {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const run = await spillway(['task', 'list'], { env: { SPILLWAY_ADDR: `http://127.0.0.1:${port}` } });
    await new Promise((resolve) => server.close(resolve));
    return run;
  }

  test.each([
    ['a web page', '<html></html>', 'something that is not JSON'],
    ['another API', '{"items":[]}', 'without apiVersion spillway/v1'],
    ['a later version', '{"apiVersion":"spillway/v1","kind":"JobList","items":[]}', 'without a TaskList'],
  ])('%s ends with 6 and says what was wrong', async (_what, body, detail) => {
    const run = await against((_request, response) => response.end(body));
    expect(run.exitCode).toBe(6);
    expect(run.stderr).toContain(detail);
    expect(run.stderr).toContain('(SERVICE_PROTOCOL)');
  });

  test('a connection that breaks off is no service', async () => {
    const run = await against((_request, response) => response.destroy());
    expect([run.exitCode, run.stderr.split('\n')[0]]).toEqual([6, expect.stringContaining('(SERVICE_UNREACHABLE)')]);
  });
});

test.skipIf(process.getuid?.() === 0)('a socket that one may not open ends with 4 and names the group', async () => {
  const path = join(await mkdtemp(join(tmpdir(), 'spillway-cli-')), 's.sock');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await chmod(path, 0o000);
  const run = await spillway(['status'], { env: { SPILLWAY_SOCKET: path } });
  expect([run.exitCode, run.stderr.split('\n')[0]]).toEqual([4, expect.stringContaining('(NOT_ALLOWED)')]);
  await new Promise((resolve) => server.close(resolve));
});

test('simulate region answers on the port it names and ends with Ctrl-C, leaving nothing', async () => {
  const region = startSpillway(['simulate', 'region', '--port', '0']);
  const endpoint = await until(
    'the region says where it is',
    () => /^AWS_ENDPOINT_URL_EC2=(\S+)$/m.exec(region.output().stdout)?.[1],
  );
  const answer = await fetch(endpoint, { method: 'POST', body: 'Action=DescribeInstances&Version=2016-11-15' });
  expect(answer.headers.get('content-type')).toMatch(/xml/);
  region.child.kill('SIGINT');
  expect(await region.finished).toMatchObject({ exitCode: 0 });
  await expect(fetch(endpoint)).rejects.toThrow('fetch failed');
});
