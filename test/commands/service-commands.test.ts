import { describe } from 'vitest';
import { sql } from 'kysely';
import { createMachineStore } from '../../src/store/machines.ts';
import { aMachine } from '../support/builders.ts';
import { until } from '../support/wait.ts';
import { ids, seedFleet, TRACE } from '../store/reports-fleet.ts';
import { test } from './spillway.ts';

describe('task', () => {
  test('submit prints one receipt line per task and hints at the next command on standard error', async ({
    service,
    expect,
  }) => {
    const run = await service.run(
      'task',
      'submit',
      '--workload',
      'transcode',
      '--cpu',
      '2',
      '--memory',
      '4GiB',
      '--count',
      '2',
      '--',
      'sh',
      '-c',
      'echo "a b"; exit 3',
      '--count',
    );
    expect(run).toEqual({
      exitCode: 0,
      stdout: 'task tk-000000000000 submitted\ntask tk-000000000001 submitted\n',
      stderr: 'next: spillway task list --workload transcode\n',
    });
    expect(service.api.submissions).toEqual([
      {
        workload: 'transcode',
        command: ['sh', '-c', 'echo "a b"; exit 3', '--count'],
        shape: { cpuMilli: 2000, memoryMib: 4096 },
        gpus: null,
        arch: null,
        localOnly: false,
        spotOk: true,
        runTimeS: null,
        count: 2,
      },
    ]);
  });

  test('submit passes on GPUs, constraints and run time, in any unit', async ({ service, expect }) => {
    const flags = ['--gpus', '2', '--arch', 'arm64', '--local-only', '--no-spot', '--run-time', '1h30m'];
    expect((await service.run('task', 'submit', '-w', 'transcode', ...flags, '--', 'date')).exitCode).toBe(0);
    const asked = { gpus: 2, arch: 'arm64', localOnly: true, spotOk: false, runTimeS: 5400 };
    expect(service.api.submissions).toMatchObject([{ shape: null, ...asked }]);
  });

  test.for([
    ['--gpus', '1.5'],
    ['--gpus', '-1'],
    ['--arch', 'mips'],
    ['--run-time', '90'],
  ])('submit refuses %s %s as a slip of the keyboard', async ([flag, value], { service, expect }) => {
    const run = await service.run('task', 'submit', '-w', 'transcode', `${flag}=${value}`, '--', 'date');
    expect(run).toMatchObject({ exitCode: 2, stdout: '' });
    expect(run.stderr).toContain(flag);
    expect(service.api.submissions).toEqual([]);
  });

  test('submit -q and -o name print ids only, for scripts', async ({ service, expect }) => {
    expect(await service.run('task', 'submit', '-q', '-w', 'transcode', '--', 'date')).toEqual({
      exitCode: 0,
      stdout: 'tk-000000000000\n',
      stderr: '',
    });
    expect((await service.run('task', 'submit', '-o', 'name', '-w', 'transcode', '--', 'date')).stdout).toBe(
      'tk-000000000000\n',
    );
    expect(service.api.submissions[0]?.shape).toBeNull();
  });

  test("submit leaves the task's flags alone, also those that Node itself knows", async ({ service, expect }) => {
    const run = await service.run(
      'task',
      'submit',
      '-q',
      '-w',
      'transcode',
      '--',
      'node',
      '--env-file',
      '/no/such.env',
      '--help',
      '-o',
      'json',
    );
    expect(run).toEqual({ exitCode: 0, stdout: 'tk-000000000000\n', stderr: '' });
    expect(service.api.submissions[0]?.command).toEqual(['node', '--env-file', '/no/such.env', '--help', '-o', 'json']);
  });

  test('submit for an unknown workload ends with 3 and the remedy of the service', async ({ service, expect }) => {
    const run = await service.run('task', 'submit', '-w', 'nope', '--', 'date');
    expect(run).toEqual({
      exitCode: 3,
      stdout: '',
      stderr: 'error: no policy is named nope (WORKLOAD_UNKNOWN)\nfix: see `spillway policy list`\n',
    });
  });

  test('list in a pipe has tabs, a header, plain numbers and whole ids', async ({ db, service, expect }) => {
    await seedFleet(db);
    const run = await service.run('task', 'list');
    expect(run).toEqual({
      exitCode: 0,
      stderr: '',
      stdout: [
        'ID\tWORKLOAD\tSTATE\tCORES\tMEM\tWAITED\tRAN\tWHERE\tEXIT',
        `${ids.running}\ttranscode\trunning\t2\t4096\t30\t90\track-1\t-`,
        `${ids.pending}\ttranscode\tpending\t1\t1024\t252\t-\t-\t-`,
        `${ids.done}\ttranscode\tdone\t1\t1024\t20\t60\track-1\t0`,
        '',
      ].join('\n'),
    });
  });

  test('list as CSV keeps a spreadsheet from running what a task is named', async ({ db, service, expect }) => {
    await seedFleet(db);
    const run = await service.run('task', 'list', '--state', 'done', '-o', 'csv', '--columns', 'id,command');
    expect(run.stdout).toBe(`id,command\r\n${ids.done},"'=cmd() x"\r\n`);
  });

  test('list says that there is more, and follows pages when asked for all', async ({ db, service, expect }) => {
    await seedFleet(db);
    await sql`insert into spillway.tasks (id, workload, command, cpu_milli, memory_mib, state, submitted_at)
      select 'tk-' || lpad((1000 + n)::text, 12, '0'), 'bulk', '["true"]', 1, 0, 'done', '2026-11-22T09:00:00Z' from generate_series(1, 1500) n`.execute(
      db,
    );
    const some = await service.run('task', 'list', '--workload', 'bulk', '--limit', '3', '-o', 'name');
    expect(some.stdout.trim().split('\n')).toHaveLength(3);
    expect(some.stderr).toBe('there are more: raise --limit 3\n');
    const all = await service.run('task', 'list', '--workload', 'bulk', '--limit', '100000', '-o', 'jsonl');
    const found = all.stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { id: string }).id);
    expect(new Set(found).size).toBe(1500);
    expect(all.stderr).toBe('');
  });

  test('an empty list is a sentence on standard error and exit code 0', async ({ service, expect }) => {
    expect(await service.run('task', 'list')).toEqual({ exitCode: 0, stdout: '', stderr: 'there are no such tasks\n' });
    const json = await service.run('task', 'list', '-o', 'json');
    expect(JSON.parse(json.stdout)).toEqual({ apiVersion: 'spillway/v1', kind: 'TaskList', items: [] });
  });

  test('show of an id that does not exist ends with 3', async ({ service, expect }) => {
    const run = await service.run('task', 'show', 'tk-zzzzzzzzzzzz');
    expect(run).toEqual({
      exitCode: 3,
      stdout: '',
      stderr: 'error: there is no task tk-zzzzzzzzzzzz (NOT_FOUND)\nfix: list tasks with `spillway task list`\n',
    });
  });

  test('logs prints the bytes of the newest attempt, or of the one asked for', async ({ db, service, expect }) => {
    await seedFleet(db);
    expect(await service.run('task', 'logs', ids.done)).toEqual({ exitCode: 0, stdout: 'hello wörld\n', stderr: '' });
    expect((await service.run('task', 'logs', ids.done, '--attempt', '1')).stdout).toBe('first try\n');
  });

  test('logs -f goes on until the task is over', async ({ db, service, expect }) => {
    await seedFleet(db);
    const following = service.start('task', 'logs', '-f', ids.running);
    await until('the first lines are shown', () => following.output().stdout.includes('so far'));
    await sql`insert into spillway.task_logs (task_id, attempt, byte_offset, content) values (${ids.running}, 1, 7, 'the end\n')`.execute(
      db,
    );
    await sql`update spillway.tasks set state = 'done', exit_code = 0 where id = ${ids.running}`.execute(db);
    expect(await following.finished).toEqual({ exitCode: 0, stdout: 'so far\nthe end\n', stderr: '' });
  });

  test('Ctrl-C ends a log that is followed with 130', async ({ db, service, expect }) => {
    await seedFleet(db);
    const following = service.start('task', 'logs', '-f', ids.running);
    await until('the first lines are shown', () => following.output().stdout.includes('so far'));
    following.child.kill('SIGINT');
    const stderr = 'the task runs on without you; follow it again at any time\n';
    expect(await following.finished).toEqual({ exitCode: 130, stdout: 'so far\n', stderr });
  });
});

describe('machine', () => {
  test('list shows what lives; --all what ended too', async ({ db, service, expect }) => {
    await seedFleet(db);
    const living = await service.run('machine', 'list', '--columns', 'id,state,type,market,busy,$/h,cost,reason');
    expect(living.stdout).toBe(
      [
        'ID\tSTATE\tTYPE\tMARKET\tBUSY\t$/H\tCOST\tREASON',
        `${ids.booting}\tbooting\tc6a.2xlarge\tspot\t-\t0.340000\t0.000000000\trebuilt`,
        `${ids.ready}\tready\tc6a.2xlarge\tspot\t0/8\t0.340000\t0.342000000\tagent reports`,
        '',
      ].join('\n'),
    );
    const all = await service.run('machine', 'list', '--all', '-o', 'name');
    expect(all.stdout).toBe(`${ids.booting}\n${ids.ready}\n${ids.ended}\n`);
  });

  test('show tells the whole life with its cost', async ({ db, service, expect }) => {
    await seedFleet(db);
    const { stdout, exitCode } = await service.run('machine', 'show', ids.ready);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('Type      c6a.2xlarge, 8 vCPU, 16 GiB, 20 GiB volume\n');
    expect(stdout).toContain(
      'Cost      $0.3420 (compute $0.3400, volume $0.0020, charged through 2026-11-22T09:00:00.000Z)\n',
    );
    expect(stdout).toContain(`Plan      ${ids.plan}\nTrace     ${TRACE}\n`);
    expect(stdout).toContain(`2026-11-22T08:00:02.000Z  launching    2s  step     run-instances      ${ids.plan}`);
    const json = await service.run('machine', 'show', ids.ready, '-o', 'json');
    expect(JSON.parse(json.stdout)).toMatchObject({
      planId: ids.plan,
      traceId: TRACE,
      events: Array.from({ length: 5 }, () => ({ planId: ids.plan, traceId: TRACE })),
    });
  });
});

describe('agent', () => {
  test('list tells a silent agent apart', async ({ db, service, expect }) => {
    await seedFleet(db);
    const { stdout } = await service.run('agent', 'list', '--columns', 'agent,layer,state,cores,busy');
    expect(stdout).toBe(
      'AGENT\tLAYER\tSTATE\tCORES\tBUSY\nip-10-0-0-7\taws\tready\t8\t0\nrack-1\ton-prem\tready\t4\t2\nrack-2\ton-prem\tstale\t2\t0\n',
    );
  });

  test('enrol prints the token on standard output and nothing else there', async ({ service, expect }) => {
    const run = await service.run('agent', 'enrol', '--label', 'pool=media', '--label', 'rack=a1', '--expires', '10m');
    expect(run).toEqual({
      exitCode: 0,
      stdout: 'en-secret\n',
      stderr: 'valid for one agent until 2026-11-22T10:10:00.000Z; it is not shown again\n',
    });
    expect(service.api.enrolments).toMatchObject([{ labels: { pool: 'media', rack: 'a1' }, ttlMs: 600_000 }]);
  });

  test("enrol --env prints what the agent's file needs", async ({ service, expect }) => {
    const run = await service.run('agent', 'enrol', '-l', 'pool=media', '--env', '--state-dir', '/srv/agent');
    expect(run.stdout).toBe(
      '# One agent, one use, until 2026-11-22T11:00:00.000Z.\nSPILLWAY_URL=https://spillway.example:7778\nSPILLWAY_STATE_DIR=/srv/agent\nSPILLWAY_ENROL_TOKEN=en-secret\nSPILLWAY_LABELS=pool=media\n',
    );
  });

  test('enrol refuses labels and times that cannot be meant, before asking the service', async ({
    service,
    expect,
  }) => {
    for (const args of [
      ['--label', 'pool'],
      ['--label', 'a=1', '--label', 'a=2'],
      ['--expires', '30'],
      ['--expires', '30d'],
    ]) {
      const run = await service.run('agent', 'enrol', ...args);
      expect([args, run.exitCode, run.stdout]).toEqual([args, 2, '']);
    }
    expect(service.api.enrolments).toEqual([]);
  });
});

describe('cost report', () => {
  test('adds up the ledger and, marked as estimated, what is not in it yet', async ({ db, service, expect }) => {
    await seedFleet(db);
    const run = await service.run('cost', 'report', '--month', '2026-11', '-o', 'csv');
    expect(run).toMatchObject({ exitCode: 0, stderr: '' });
    const [header, row] = run.stdout.split('\r\n');
    expect(header).toBe('workload,machines,hours,compute,volume,ipv4,total,estimated');
    // Charged: 0.34 + 0.02 compute and 0.002 volume. Open: one hour at 0.34 and 20 GiB of volume for an hour.
    expect(row).toMatch(/^transcode,2,2\.166667,0\.700000000,0\.00\d+,0\.000000000,0\.70\d+,0\.34\d+$/);
  });

  test('groups by day in UTC and keeps to the range', async ({ db, service, expect }) => {
    await seedFleet(db);
    const run = await service.run(
      'cost',
      'report',
      '--from',
      '2026-11-21',
      '--to',
      '2026-11-22',
      '--by',
      'day',
      '-o',
      'json',
    );
    expect(JSON.parse(run.stdout)).toMatchObject({
      kind: 'CostReport',
      by: 'day',
      from: '2026-11-21T00:00:00.000Z',
      to: '2026-11-22T00:00:00.000Z',
      items: [
        {
          key: '2026-11-21',
          machines: 1,
          computeUsd: '0.020000000',
          totalUsd: '0.020000000',
          estimatedUsd: '0.000000000',
        },
      ],
      total: { key: 'total', totalUsd: '0.020000000' },
    });
  });

  test('as a table ends with the total; of an empty range is a sentence', async ({ db, service, expect }) => {
    await seedFleet(db);
    const table = await service.run('cost', 'report', '--month', '2026-11', '--by', 'market');
    expect(
      table.stdout
        .trim()
        .split('\n')
        .map((line) => line.split('\t')[0]),
    ).toEqual(['MARKET', 'on-demand', 'spot', 'total']);
    const empty = await service.run('cost', 'report', '--month', '2020-01');
    expect(empty).toEqual({
      exitCode: 0,
      stdout: '',
      stderr: 'nothing was spent from 2020-01-01T00:00:00.000Z to 2020-02-01T00:00:00.000Z\n',
    });
  });
});

describe('status and plan', () => {
  test('status is one screen', async ({ db, service, expect }) => {
    await seedFleet(db);
    const { stdout, exitCode } = await service.run('status');
    expect(exitCode).toBe(0);
    const [service_, header, local, cloud, waiting, machines, money] = stdout.split('\n');
    expect(service_).toMatch(/^Service: ready, leading, last plan .* ago \(pl-000000000001\)$/);
    expect(header).toBe('LAYER  AGENTS  READY  STALE  DRAINING  CORES  BUSY  FREE  GIB    $/H');
    expect(local).toBe('local       2      1      1         0      4     2     2    8      -');
    expect(cloud).toBe('cloud       1      1      0         0      8     0     8   16  0.680');
    expect(waiting).toBe('Waiting: 1 task of transcode (1 cores, 1 GiB; oldest 4m12s)');
    expect(machines).toBe('Machines: 1 booting, 1 ready');
    expect(money).toBe('Money: $0.680/h now, $0.34 today, $0.36 this month (UTC)');
  });

  test('status has a line about drains that do not go on', async ({ db, service, expect }) => {
    const { id } = await aMachine(db, 'draining', { workload: 'render' });
    const set = async (changes: object): Promise<unknown> => await db.updateTable('machines').set(changes).execute();
    expect((await service.run('status')).stdout).not.toContain('Drains:');
    await set({ hook_error: 'health: exit code 1' });
    const machines = createMachineStore(db);
    const { machine } = (await machines.read(id))!;
    await machines.extendDeadline(machine, { ms: 60_000, reason: 'drain-deadline-extended', detail: {} });
    expect((await service.run('status')).stdout).toMatch(
      /^Drains: 1 of render past its deadline \(oldest by [0-9a-z]+\); 1 of render held by the hook health$/m,
    );
  });

  test('status -o json is the document of the API', async ({ db, service, expect }) => {
    await seedFleet(db);
    const document = JSON.parse((await service.run('status', '-o', 'json')).stdout) as Record<string, unknown>;
    expect(document).toMatchObject({
      apiVersion: 'spillway/v1',
      kind: 'Status',
      usdPerHour: '0.680000',
      service: { ready: true },
    });
  });

  test('plan with nothing to do ends with 0, with or without --detailed-exitcode', async ({ service, expect }) => {
    const run = await service.run('plan', '--detailed-exitcode');
    expect(run).toMatchObject({ exitCode: 0, stderr: '' });
    expect(run.stdout).toContain('No workload has a policy');
  });
});

describe('a plan with actions', () => {
  const machineId = ids.ready;
  const report = { verdict: 'scale-down', reasons: [], signals: { queue: null, utilization: null, headroom: null } };
  const withActions = test.extend({
    actions: {
      previewProvedPlan: async () =>
        ({
          decidedAtMs: 0,
          workloads: [
            { workload: 'ci', actions: [{ kind: 'drain', machineId, revision: 1, why: 'unneeded' }], report },
          ],
          proofs: [],
        }) as never,
    },
  });

  withActions('ends with 10 only when --detailed-exitcode asks for it', async ({ service, expect }) => {
    expect((await service.run('plan', '-o', 'json')).exitCode).toBe(0);
    expect((await service.run('plan', '-o', 'json', '--detailed-exitcode')).exitCode).toBe(10);
  });
});
