/**
 * Goal: a machine with Windows joins, drains and is paid for like any other.
 * Method: its whole life in the simulated region, at the level of scripts; and the step of the join alone over real SSH, against a
 * stand-in for Windows' sshd that reads PowerShell by its grammar and runs none.
 */
import { afterEach, describe, expect } from 'vitest';
import { deriveHostKey } from '../../src/cloud/host-key.ts';
import { stepJoining } from '../../src/jobs/join.ts';
import type { StepOutcome, StepPorts } from '../../src/jobs/ports.ts';
import type { MachineIn } from '../../src/model/machine.ts';
import { nanoUsdFromDecimal } from '../../src/model/money.ts';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import type { MachineRecord } from '../../src/ports/machines.ts';
import { SIMULATED_IMAGES, SIMULATED_WINDOWS_IMAGE } from '../../src/simulator/world.ts';
import { renderEnvFile } from '../../src/ssh/quote.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { createCredentials } from '../../src/wiring/credentials.ts';
import { makeKeyPair } from '../ssh/ssh-server.ts';
import { publicHalf, startWindowsHost, type Ran, type WindowsHost } from '../ssh/windows-host.ts';
import { test } from '../support/database.ts';
import { recordingLog } from '../support/log.ts';
import { literalsOf, mistakesOf } from '../support/powershell.ts';
import { worldPolicy, type PolicyChanges } from '../support/world-policy.ts';
import { readyInstance } from '../support/world-rows.ts';
import { World } from '../support/world.ts';

/** Reports and looks that a test of minutes does not need. */
const RARELY = { heartbeatS: 30, everyS: { plan: 30, sweep: 30, ring: 10, account: 60 } } as const;
const CENT = nanoUsdFromDecimal('0.01');
const WINDOWS = {
  image: { x86_64: SIMULATED_WINDOWS_IMAGE },
  license: { usdPerVcpuHour: 0.046 },
} as const;

function windowsPolicy(changes: PolicyChanges = {}): WorkloadPolicy {
  return worldPolicy({
    limits: { min: 1, max: 1 },
    ...changes,
    burst: { ...WINDOWS, ...changes.burst },
    recipe: { shell: 'powershell', script: '/etc/join.ps1', env: { POOL: 'media' }, ...changes.recipe },
  });
}

describe('a machine with Windows in the simulated region', () => {
  test('gets a script as user-data, a host key of its own, and the files of PowerShell', async ({ pool }) => {
    const policy = windowsPolicy({
      recipe: { files: ['/etc/more.ps1', '/etc/more.txt'] },
      ready: { command: 'Get-Service x' },
    });
    const world = await World.create(pool, { policies: [policy] });
    const instanceId = await readyInstance(world);
    const { userData } = world.region.findInstance(instanceId) ?? { userData: null };
    expect(Buffer.from(userData ?? '', 'base64').toString('utf8')).toMatch(/^<powershell>\n/);
    const row = await world.db
      .selectFrom('machines')
      .select(['host_key', 'host_key_confirmed_at'])
      .executeTakeFirstOrThrow();
    expect(row).toEqual({ host_key: world.hosts.ownKey(instanceId), host_key_confirmed_at: expect.any(Date) });
    expect(world.hosts.commandsOn(instanceId)).toEqual(['(join)', 'Get-Service x']);
    // 5.1 reads a script without the mark in the machine's code page.
    for (const name of ['agent.ps1', 'recipe.ps1', 'recipe.env.ps1', 'recipe-run.ps1', 'recipe/more.ps1'])
      expect([name, world.hosts.fileOn(instanceId, `.spillway/${name}`)?.[0]]).toEqual([name, '\uFEFF']);
    expect(world.hosts.fileOn(instanceId, '.spillway/recipe/more.txt')).toBe('# /etc/more.txt\n');
    expect(world.hosts.fileOn(instanceId, '.spillway/agent.sh')).toBeUndefined();
  });

  test('costs what EC2 bills for it, the licence included, to the cent', async ({ pool }) => {
    const world = await World.create(pool, { policies: [windowsPolicy()], ...RARELY });
    await readyInstance(world);
    await world.run(20 * 60_000);
    world.policies = [windowsPolicy({ limits: { min: 0, max: 1 } })];
    await world.runUntil('it is gone', async () => (await world.liveMachines()) === 0, 3_600_000);
    await world.run(120_000);
    const bill = world.region.bill();
    const rows = await world.db.selectFrom('charges').select('amount_usd').execute();
    const ledger = rows.reduce((sum, row) => sum + nanoUsdFromDecimal(row.amount_usd), 0n);
    expect(ledger).toBeGreaterThan(0n);
    const off = ledger - bill.totalNanoUsd;
    expect(off < 0n ? -off : off).toBeLessThan(CENT);
    const [line] = bill.lines;
    const linux = { 'c5.large': 0.085, 'c5.xlarge': 0.17, 'c5.2xlarge': 0.34 }[line?.instanceType ?? ''] ?? 0;
    const perHour = (Number(line?.instanceNanoUsd) / 1e9 / (line?.billedSeconds ?? 1)) * 3600;
    expect(linux).toBeGreaterThan(0);
    expect(perHour / linux).toBeCloseTo(0.177 / 0.085, 6);
  });

  test.for([
    ['Windows without PowerShell', { burst: { image: WINDOWS.image } }],
    [
      'PowerShell without Windows',
      {
        burst: { image: { x86_64: SIMULATED_IMAGES.x86_64 }, license: WINDOWS.license },
        recipe: { shell: 'powershell' },
      },
    ],
  ] as const)('is not launched at a price of another system: %s', async ([, changes], { pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy({ ...changes, limits: { min: 1, max: 1 } })] });
    await world.run(60_000);
    expect(world.truth.instances()).toEqual([]);
    expect(world.log.lines.map(({ details }) => details['error'])).toContainEqual(expect.stringMatching(/Windows\.$/));
  });

  test('is drained by the hooks of its policy', async ({ pool }) => {
    const hooks = { beforeDrain: 'Stop-Service a', beforeTerminate: 'Stop-Service b' };
    const policies = [windowsPolicy({ limits: { min: 1, max: 1 }, drain: { hooks, scaleDownUnneededMs: 0 } })];
    const world = await World.create(pool, { policies });
    const instanceId = await readyInstance(world);
    policies[0] = windowsPolicy({ limits: { min: 0, max: 1 }, drain: { hooks, scaleDownUnneededMs: 0 } });
    world.policies = policies;
    await world.runUntil('it is gone', async () => (await world.count('machines', 'terminated')) === 1, 3_600_000);
    expect(world.hosts.commandsOn(instanceId)).toEqual(['(join)', 'Stop-Service a', 'Stop-Service b']);
  });
});

const KEY = Buffer.alloc(32, 7);
const NONCE = 'cd'.repeat(16);
const credentials = createCredentials(KEY);
const hosts: WindowsHost[] = [];

afterEach(() => {
  for (const host of hosts.splice(0)) host.stop();
});

/** What the stand-in does with our own scripts; `join` is what the test has of it. */
function machineThat(join: (host: WindowsHost) => Ran | 'hang' | 'cut', made = makeKeyPair()) {
  return (script: string, host: WindowsHost): Ran | 'hang' | 'cut' => {
    if (script.startsWith('# spillway: prepare host key'))
      return { exitCode: 0, stdout: `${made.public} spillway\r\n` };
    if (script.startsWith('# spillway: activate host key ')) {
      const [, half = ''] = made.public.split(' ');
      if (!literalsOf(script).includes(half)) return { exitCode: 1, stdout: 'another key' };
      host.hostKey = made.private;
      return { exitCode: 0 };
    }
    return script.startsWith('# spillway: join') ? join(host) : { exitCode: 64 };
  };
}

interface Stage {
  readonly host: WindowsHost;
  readonly done: string[];
  pinned: { key: string; confirmed: boolean } | null;
  step(): Promise<StepOutcome>;
  readonly log: ReturnType<typeof recordingLog>;
}

/** Of the many things that a step may touch those that a join does; the rows are variables. */
async function stageWith(
  run: (script: string, host: WindowsHost) => Ran | 'hang' | 'cut',
  env: Readonly<Record<string, string>> = {},
): Promise<Stage> {
  const host = await startWindowsHost({ run, hostKey: deriveHostKey(KEY, NONCE).privateOpenSsh });
  hosts.push(host);
  const { port, login, user } = host.target;
  const base = windowsPolicy({ recipe: { env } });
  const identityFile = login.kind === 'file' ? login.file : '';
  const policy = { ...base, join: { ...base.join, ssh: { ...base.join.ssh, port, user, identityFile } } };
  const log = recordingLog();
  const stage: Stage = {
    host,
    log,
    done: [],
    pinned: null,
    step: async () => {
      const machine = {
        id: 'mc-1',
        state: 'joining',
        instanceId: 'i-1',
        workload: 'render',
        market: 'on-demand',
        privateIp: '127.0.0.1',
      };
      const record = {
        machine,
        hostKey: stage.pinned,
        launch: { nonce: NONCE, body: { region: 'us-east-1' } },
        agent: null,
        installedAtMs: null,
        nowMs: 0,
        deadlineAtMs: 1000,
      };
      // What the step of a join asks for and nothing else: a whole service would need a machine to run on.
      return await stepJoining(
        ports as unknown as StepPorts,
        record as unknown as MachineRecord,
        machine as unknown as MachineIn<'joining'>,
      );
    },
  };
  const note =
    (what: string) =>
    async (...details: unknown[]) =>
      void stage.done.push(
        [what, ...details.slice(1)].map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join(' '),
      );
  const ports = {
    shell: createShell(),
    credentials,
    log: { ...log, debug: () => undefined },
    timings: { joinPollMs: 5 },
    ids: { hex: (bytes: number) => 'e'.repeat(bytes * 2) },
    cloud: { consoleOutput: async () => null },
    launches: { noteJoin: note('noteJoin') },
    wakePlanner: () => undefined,
    readPolicy: async () => policy,
    agent: {
      scripts: { sh: 'no', powershell: "Write-Output 'agent'\n" },
      serviceUrl: 'https://spillway.example',
      allowHttp: false,
      renderEnv: renderEnvFile,
      readRecipe: async () => "Write-Output 'größer'\n",
    },
    machines: {
      pinHostKey: async (_id: string, key: string) => (stage.pinned ??= { key, confirmed: false }).key,
      confirmHostKey: async () => void (stage.pinned = { key: stage.pinned?.key ?? '', confirmed: true }),
      issueEnrolment: async () => undefined,
      keepOutput: async (_id: string, kept: unknown) => void stage.done.push(`output ${JSON.stringify(kept)}`),
      markInstalled: async () => void stage.done.push('installed'),
      read: async () => null,
      transition: async (_machine: unknown, to: { to: string; reason: string; detail?: unknown }) => {
        stage.done.push(`${to.to} ${to.reason} ${JSON.stringify(to.detail)}`);
        return true;
      },
    },
  };
  return stage;
}

describe('the join over SSH with a machine that runs Windows', () => {
  test('takes a new host key, brings all files, and reads what the recipe said', async () => {
    const env = { POOL: "it's \u2018media\u2019\n$(calc) `n", EMOJI: '\u{1F600}' };
    const stage = await stageWith(
      machineThat(() => ({
        exitCode: 0,
        stdout: Buffer.from('größer\r\n'),
        stderr: '#< CLIXML\r\n<Objs Version="1.1.0.1"><Obj S="progress"></Obj></Objs>',
      })),
      env,
    );
    expect(await stage.step()).toMatchObject({ kind: 'again', afterMs: 5 });
    expect(stage.pinned).toEqual({ key: publicHalf(stage.host.hostKey), confirmed: true });
    expect(stage.pinned?.key).not.toBe(credentials.hostPublicKey(NONCE));
    expect(stage.done).toEqual(['output {"phase":"join","exitCode":0,"content":"größer\\n"}', 'installed']);
    expect(stage.host.fileAt('.spillway/recipe.ps1')).toBe("\uFEFFWrite-Output 'größer'\n");
    const settings = stage.host.fileAt('.spillway/agent.settings') ?? '';
    expect(settings).toContain('SPILLWAY_URL=https://spillway.example\n');
    expect(settings).toContain('SPILLWAY_NAME=mc-1\n');
    const variables = stage.host.fileAt('.spillway/recipe.env.ps1') ?? '';
    expect(mistakesOf(variables)).toEqual([]);
    expect(literalsOf(variables)).toEqual([env.EMOJI, env.POOL]);
    // Neither a value nor the token is ever part of a command line, which all users of a machine may see.
    expect(JSON.stringify(stage.host.runs)).not.toMatch(/e{32}|media/);
    expect(stage.host.modesSet).toEqual([]);
  });

  test('is tried again when another one is at work, and does not take that for a failure', async () => {
    const stage = await stageWith(machineThat(() => ({ exitCode: 75 })));
    expect(await stage.step()).toMatchObject({ kind: 'again', afterMs: 20 });
    expect(stage.done).toEqual([]);
  });

  test('ends with the words of a recipe that failed', async () => {
    const stage = await stageWith(machineThat(() => ({ exitCode: 3, stdout: 'no package\r\n' })));
    await stage.step();
    expect(stage.done).toContainEqual('output {"phase":"join","exitCode":3,"content":"no package\\n"}');
    expect(stage.done).toContainEqual(expect.stringMatching(/^terminating join-failed .*"exitCode":3/));
  });

  test('that is cut is tried again with the pinned key, which the machine has taken up', async () => {
    let tries = 0;
    const stage = await stageWith(
      machineThat(() => {
        tries += 1;
        return tries === 1 ? 'cut' : { exitCode: 0 };
      }),
    );
    expect(await stage.step()).toMatchObject({ kind: 'again', afterMs: 20 });
    expect(stage.log.lines.map(({ details }) => details['code'])).toContain('SSH_UNREACHABLE');
    expect(stage.pinned?.key).toBe(publicHalf(stage.host.hostKey));
    expect(await stage.step()).toMatchObject({ kind: 'again', afterMs: 5 });
    expect(stage.done).toEqual(['installed']);
  });

  test('is over when the machine cannot make a host key, and says why', async () => {
    const stage = await stageWith(() => ({ exitCode: 77, stdout: 'the login user is not an administrator\r\n' }));
    await stage.step();
    expect(stage.done).toContainEqual(expect.stringMatching(/^terminating join-failed .*not an administrator/));
    expect(stage.host.runs).toHaveLength(1);
  });

  test('never goes on with a machine that shows another key', async () => {
    const stage = await stageWith(machineThat(() => ({ exitCode: 0 })));
    stage.host.hostKey = makeKeyPair().private;
    await stage.step();
    expect(stage.host.runs.map(({ script }) => script.split('\n')[0])).toEqual(['# spillway: proof of the host key']);
    expect(stage.done).toContainEqual(expect.stringMatching(/^terminating join-failed .*SSH_HOST_KEY/));
  });
});
