import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { test as databaseTest } from '../support/database.ts';
import { spillway, startSpillway } from './spillway.ts';

async function folderWith(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-policies-'));
  await Promise.all(Object.entries(files).map(async ([name, text]) => writeFile(join(folder, name), text)));
  return folder;
}

const POLICY = `apiVersion: spillway.dev/v1
kind: WorkloadPolicy
metadata: { name: transcode }
spec:
  agents: { selector: { pool: media } }
  demand:
    queue: { source: bullmq, name: transcode, task: { cpu: 2, memory: 4GiB } }
  burst:
    region: eu-central-1
    subnets: [subnet-0a1b2c3d]
    securityGroups: [sg-0a1b2c3d]
    image: { x86_64: ami-0a1b2c3d }
    limits: { max: 4 }
    budget: { hourly: 10 }
  join:
    ssh: { user: ubuntu, identity: { file: /nowhere/id_ed25519 } }
`;

describe('wrong usage ends with 2 and says what to write', () => {
  test.for([
    [['tsk', 'list'], "error: unknown command 'tsk' (USAGE)", 'fix: Did you mean task? (see `spillway --help`)'],
    [['task', 'lst'], "error: unknown command 'lst' (USAGE)", 'fix: Did you mean list? (see `spillway task --help`)'],
    [
      ['task', 'list', '--workloud', 'x'],
      "error: unknown option '--workloud' (USAGE)",
      'fix: Did you mean --workload? (see `spillway task list --help`)',
    ],
    [
      ['task', 'submit', '--', 'date'],
      "error: required option '-w, --workload <WORKLOAD>' not specified (USAGE)",
      'fix: see `spillway task submit --help`',
    ],
    [
      ['task', 'submit', '-w', 'x'],
      "error: missing required argument 'COMMAND' (USAGE)",
      'fix: see `spillway task submit --help`',
    ],
    [
      ['task', 'submit', '-w', 'x', '--cpu', '2', '--', 'date'],
      'error: --cpu and --memory belong together (USAGE)',
      'fix: give both, or neither for the shape of the policy',
    ],
    [
      ['task', 'submit', '-w', 'x', '--count', '0', '--', 'date'],
      'error: --count: 0 is less than 1 (USAGE)',
      'fix: write a whole number from 1 to 10000',
    ],
    [
      ['task', 'list', '--limit', 'many'],
      'error: --limit: "many" is not a whole number (USAGE)',
      'fix: write a whole number from 1 to 100000',
    ],
    [
      ['status', '-o', 'csv'],
      'error: -o csv is for lists; this command shows one thing (USAGE)',
      'fix: use -o json or -o yaml, or leave -o out',
    ],
    [
      ['cost', 'report', '--month', '2026-13'],
      'error: --month: "2026-13" is not a month (USAGE)',
      'fix: write --month 2026-11',
    ],
    [
      ['cost', 'report', '--from', '2026-02-30'],
      'error: --from: "2026-02-30" is not a date (USAGE)',
      'fix: write --from 2026-11-01 or --from 2026-11-01T08:00:00Z',
    ],
    [
      ['completion', 'bsh'],
      'error: there is no completion for "bsh" (USAGE)',
      'fix: did you mean bash? Known are: bash, zsh, fish',
    ],
  ] as const)('%j', async ([args, error, fix]) => {
    expect(await spillway(args)).toEqual({ exitCode: 2, stdout: '', stderr: `${error}\n${fix}\n` });
  });

  test('as one JSON object on standard error when JSON was asked for, even if the line cannot be parsed', async () => {
    const run = await spillway(['task', 'lst', '-o', 'json']);
    expect([run.exitCode, run.stdout]).toEqual([2, '']);
    expect(JSON.parse(run.stderr)).toMatchObject({
      apiVersion: 'spillway/v1',
      kind: 'Error',
      error: { code: 'USAGE', message: "unknown command 'lst'", cause: null },
    });
  });
});

describe('without a service', () => {
  test('a command that needs one ends with 6, the cause and how to start it', async () => {
    const run = await spillway(['status'], { env: { SPILLWAY_SOCKET: '/tmp/spillway-no-such.sock' } });
    expect(run).toEqual({
      exitCode: 6,
      stdout: '',
      stderr:
        'error: no service answers at /tmp/spillway-no-such.sock (SERVICE_UNREACHABLE)\ncause: connect ENOENT /tmp/spillway-no-such.sock\nfix: start it with `spillway serve`, or say where it listens with SPILLWAY_SOCKET or SPILLWAY_ADDR\n',
    });
  });

  test('a stack is shown with --debug only', async () => {
    const env = { SPILLWAY_SOCKET: '/tmp/spillway-no-such.sock' };
    expect((await spillway(['status'], { env })).stderr).not.toMatch(/^ +at /m);
    expect((await spillway(['status', '--debug'], { env })).stderr).toMatch(/^ +at /m);
  });

  test('wrong settings are named with the variable', async () => {
    const run = await spillway(['status'], { env: { SPILLWAY_PLAN_INTERVAL: '5' } });
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toMatch(/^error: SPILLWAY_PLAN_INTERVAL .*\(CONFIG_INVALID\)\nfix: /);
  });
});

describe('policy', () => {
  test('validate says how many are valid', async () => {
    const folder = await folderWith({ 'transcode.yaml': POLICY });
    expect(await spillway(['policy', 'validate', '--offline', folder])).toEqual({
      exitCode: 0,
      stdout: '1 policy is valid: transcode\n',
      stderr: '',
    });
  });

  test('validate points at line and column and ends with 2', async () => {
    const folder = await folderWith({ 'bad.yaml': POLICY.replace('limits: { max: 4 }', 'limits: { mx: 4 }') });
    const run = await spillway(['policy', 'validate', '--offline', join(folder, 'bad.yaml')]);
    expect([run.exitCode, run.stdout]).toEqual([2, '']);
    expect(run.stderr).toContain('bad.yaml:13:15: error: ');
    expect(run.stderr).toContain('   13 |     limits: { mx: 4 }');
  });

  test('validate --format github writes annotations, -o json the issues', async () => {
    const folder = await folderWith({ 'bad.yaml': POLICY.replace('limits: { max: 4 }', 'limits: { mx: 4 }') });
    const github = await spillway(['policy', 'validate', '--offline', '--format', 'github', join(folder, 'bad.yaml')]);
    expect(github.exitCode).toBe(2);
    expect(github.stdout).toMatch(/^::error file=.*bad\.yaml,line=13,col=15,endColumn=17,title=POLICY_UNKNOWN_KEY::/);
    const json = await spillway(['policy', 'validate', '--offline', '-o', 'json', join(folder, 'bad.yaml')]);
    expect(json.exitCode).toBe(2);
    expect(JSON.parse(json.stdout)).toMatchObject({
      kind: 'PolicyIssueList',
      items: [{ code: 'POLICY_UNKNOWN_KEY', line: 13, column: 15 }],
    });
  });

  test('validate of a folder without policies is a mistake, not a success', async () => {
    const run = await spillway(['policy', 'validate', await folderWith({})]);
    expect([run.exitCode, run.stderr.split('\n')[0]]).toEqual([2, 'error: there is no policy to check (USAGE)']);
  });

  test('list shows the policies of SPILLWAY_POLICIES with their limits', async () => {
    const env = { SPILLWAY_POLICIES: await folderWith({ 'transcode.yaml': POLICY }) };
    const run = await spillway(['policy', 'list', '--columns', 'workload,agents,signals,task,max'], { env });
    expect(run).toEqual({
      exitCode: 0,
      stderr: '',
      stdout: 'WORKLOAD\tAGENTS\tSIGNALS\tTASK\tMAX\ntranscode\tpool=media\tqueue\t2/4GiB\t4\n',
    });
  });

  test('schema prints a JSON Schema', async () => {
    const schema = JSON.parse((await spillway(['policy', 'schema'])).stdout) as Record<string, unknown>;
    expect(schema).toHaveProperty('properties.spec');
  });
});

describe('migrate', () => {
  databaseTest(
    'applies nothing to a database that is up to date, and --check agrees',
    async ({ databaseUrl, expect }) => {
      const env = { DATABASE_URL: databaseUrl, SPILLWAY_LOG_LEVEL: 'error' };
      expect(await spillway(['migrate'], { env })).toEqual({
        exitCode: 0,
        stdout: '',
        stderr: 'nothing to apply: the database is up to date\n',
      });
      expect((await spillway(['migrate', '--check'], { env })).exitCode).toBe(0);
    },
  );

  databaseTest(
    '--check ends with 10 and names what is missing; migrate applies it',
    async ({ databaseUrl, pool, expect }) => {
      const env = { DATABASE_URL: databaseUrl, SPILLWAY_LOG_LEVEL: 'error' };
      await pool.query('drop schema spillway cascade; drop schema if exists bullmq cascade');
      const check = await spillway(['migrate', '--check'], { env });
      expect([check.exitCode, check.stdout.split('\n')[0]]).toEqual([10, 'pending 0001_foundation']);
      const apply = await spillway(['migrate'], { env });
      expect([apply.exitCode, apply.stdout.split('\n')[0]]).toEqual([0, 'applied 0001_foundation']);
      expect((await spillway(['migrate', '--check', '-o', 'json'], { env })).exitCode).toBe(0);
    },
  );

  test('says that the database is away, and never its password', async () => {
    const env = { DATABASE_URL: 'postgres://spillway:canary-secret@127.0.0.1:1/spillway' };
    const run = await spillway(['migrate', '--debug'], { env });
    expect(run.exitCode).toBe(6);
    expect(run.stderr).toContain('(DATABASE_UNREACHABLE)');
    expect(run.stderr + run.stdout).not.toContain('canary-secret');
  });
});

describe('config show', () => {
  test('tells value and origin of every setting, without passwords', async () => {
    const env = { DATABASE_URL: 'postgres://spillway:canary-secret@db/spillway', SPILLWAY_PLAN_INTERVAL: '90s' };
    const { stdout, exitCode } = await spillway(['config', 'show'], { env });
    expect(exitCode).toBe(0);
    expect(stdout).toContain('SPILLWAY_PLAN_INTERVAL\t1m30s\tenvironment\n');
    expect(stdout).toContain('SPILLWAY_LISTEN\t127.0.0.1:7777\tdefault\n');
    expect(stdout).toMatch(/DATABASE_URL\tpostgres:\/\/spillway:\S+@db\/spillway\tenvironment/);
    expect(stdout).not.toContain('canary-secret');
  });

  test('knows every variable that Spillway itself reads', async () => {
    const { VARIABLES } = await import('../../src/config/variables.ts');
    const own = VARIABLES.filter((variable) => !variable.passThrough).map((variable) => variable.name);
    const { stdout } = await spillway(['config', 'show', '-o', 'name']);
    expect(stdout.trim().split('\n')).toEqual(own);
  });
});

describe('a reader that leaves early', () => {
  test('ends the command quietly', async () => {
    const run = startSpillway(['policy', 'schema']);
    run.child.stdout?.destroy();
    expect(await run.finished).toMatchObject({ exitCode: 0, stderr: '' });
  });
});

test('the version is that of the package', async () => {
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(await spillway(['--version'])).toEqual({ exitCode: 0, stdout: `spillway ${version}\n`, stderr: '' });
});
