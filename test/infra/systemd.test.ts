import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VARIABLES } from '../../src/config/variables.ts';
import { waitMs } from '../../src/model/waits.ts';
import { AGENT_API_LIMITS } from '../../src/server/agent-api/create-agent-api.ts';
import { one, parseUnit, readUnit, ROOT, runAnalyze, systemdAnalyze } from './unit-file.ts';

/** Exposure in tenths that systemd-analyze may find at most; the agent's walls hold its tasks too, so they are wider. */
const UNITS = [
  { name: 'spillway.service', installed: '/opt/spillway/', here: ROOT, exposureMax: 20 },
  { name: 'spillway-agent.service', installed: '/opt/spillway-agent/', here: `${ROOT}src/agent/`, exposureMax: 45 },
] as const;

describe.skipIf(systemdAnalyze === null)('systemd itself', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spillway-units-'));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  /** Verifying looks for the program, so the unit is shown with this checkout in place of the installation. */
  async function place(name: string, text: string): Promise<string> {
    const unit = UNITS.find((candidate) => candidate.name === name);
    const file = join(folder, name);
    await writeFile(file, unit === undefined ? text : text.replaceAll(unit.installed, unit.here));
    return file;
  }

  /** The exit code, and what was said about this unit (not about others of the host that it names). */
  async function verify(name: string, text: string): Promise<{ code: number; complaints: string[] }> {
    const { code, said } = await runAnalyze(['verify', '--man=no', await place(name, text)]);
    return { code, complaints: said.split('\n').filter((line) => line.includes(name)) };
  }

  test.each(UNITS)('accepts every line of $name', async ({ name }) => {
    expect(await verify(name, readUnit(name))).toStrictEqual({ code: 0, complaints: [] });
  });

  test.each(UNITS)('finds $name at most $exposureMax tenths exposed', async ({ name, exposureMax }) => {
    const file = await place(name, readUnit(name));
    const { code, said } = await runAnalyze(['security', '--offline=true', `--threshold=${exposureMax}`, file]);
    expect({ code, verdict: said.split('\n').at(-2) }).toMatchObject({ code: 0 });
  });

  test('accepts the service with all of its examples for secrets switched on', async () => {
    const text = readUnit('spillway.service').replaceAll(/^#((?:LoadCredential|Environment)=)/gm, '$1');
    expect(parseUnit(text).get('LoadCredential')).toHaveLength(4);
    expect(await verify('spillway.service', text)).toStrictEqual({ code: 0, complaints: [] });
  });

  test('refuses a directive it does not know, so the checks above can fail', async () => {
    const text = readUnit('spillway.service').replace('ProtectHome=', 'ProtectHomes=');
    const { complaints } = await verify('spillway.service', text);
    expect(complaints.join()).toContain('ProtectHomes');
  });
});

describe('spillway.service', () => {
  const text = readUnit('spillway.service');
  const unit = parseUnit(text);

  test('starts the program that the package brings, and takes its exit as told', () => {
    expect(one(unit, 'ExecStart')).toBe('/opt/spillway/bin/spillway serve');
    expect(one(unit, 'Type')).toBe('exec');
    expect(one(unit, 'Restart')).toBe('always');
    expect(one(unit, 'RestartPreventExitStatus')).toBe('2');
    expect(one(unit, 'StartLimitIntervalSec')).toBe('0');
    expect(one(unit, 'ExecReload')).toBe('/bin/kill -HUP $MAINPID');
  });

  test('waits longer than the service takes to stop, and lets it stop its own Postgres', () => {
    expect(Number.parseInt(one(unit, 'TimeoutStopSec'), 10) * 1000).toBeGreaterThan(waitMs('service.stop'));
    expect(one(unit, 'KillMode')).toBe('mixed');
  });

  test('has room for every connection that agents may open', () => {
    expect(Number(one(unit, 'LimitNOFILE'))).toBeGreaterThan(AGENT_API_LIMITS.connectionsMax * 2);
  });

  test('sets only variables that exist, to places that the unit may write', () => {
    const known = new Set<string>([
      ...VARIABLES.flatMap(({ name, secret }) => (secret ? [name, `${name}_FILE`] : [name])),
      // Read by Node and the AWS SDK themselves.
      'NODE_COMPILE_CACHE',
      'NODE_ENV',
      'AWS_SHARED_CREDENTIALS_FILE',
    ]);
    const assignments = [...text.matchAll(/^#?Environment=([A-Z_]+)=(.*)$/gm)];
    expect(assignments.map(([, name]) => name).filter((name) => !known.has(name ?? ''))).toStrictEqual([]);
    const paths = new Map(assignments.map(([, name, value]) => [name, value]));
    expect(paths.get('SPILLWAY_DATA_DIR')).toBe(`/var/lib/${one(unit, 'StateDirectory')}`);
    expect(paths.get('SPILLWAY_SOCKET')).toBe(`/run/${one(unit, 'RuntimeDirectory')}/spillway.sock`);
    expect(paths.get('NODE_COMPILE_CACHE')).toBe(`/var/cache/${one(unit, 'CacheDirectory')}`);
    expect(one(unit, 'EnvironmentFile')).toBe('-/etc/spillway/spillway.env');
  });

  test('names each secret where its LoadCredential line puts it', () => {
    const credentials = [...text.matchAll(/^#LoadCredential=([a-z-]+):\/etc\/spillway\//gm)].map(([, name]) => name);
    const used = [...text.matchAll(/\/run\/credentials\/spillway\.service\/([a-z-]+)/g)].map(([, name]) => name);
    expect(credentials).toHaveLength(4);
    expect(new Set(used)).toStrictEqual(new Set(credentials));
  });

  test('leaves V8 its compiler and turns refused system calls into errors', () => {
    expect(unit.has('MemoryDenyWriteExecute')).toBe(false);
    expect(unit.get('SystemCallFilter')).toStrictEqual(['@system-service', '~@privileged @resources']);
    expect(one(unit, 'SystemCallErrorNumber')).toBe('EPERM');
    expect(one(unit, 'RestrictAddressFamilies').split(' ').sort()).toStrictEqual(['AF_INET', 'AF_INET6', 'AF_UNIX']);
  });
});

describe('spillway-agent.service', () => {
  const unit = parseUnit(readUnit('spillway-agent.service'));

  test('brings the agent back for ever, except where its exit codes say that another start does harm', async () => {
    expect(one(unit, 'Restart')).toBe('always');
    expect(one(unit, 'StartLimitIntervalSec')).toBe('0');
    expect(Number.parseInt(one(unit, 'RestartSec'), 10)).toBeLessThanOrEqual(2);
    const codes = one(unit, 'RestartPreventExitStatus').split(' ');
    const script = await readFile(`${ROOT}src/agent/spillway-agent.sh`, 'utf8');
    for (const code of codes) expect(script).toMatch(new RegExp(`(?:die|exit) ${code}\\b`));
    // 0 follows a reload, 2 follows settings that can be corrected while tasks still run.
    expect(codes).not.toContain('0');
    expect(codes).not.toContain('2');
  });

  test('leaves the ending of tasks to the agent, and takes nothing from under those that outlive it', () => {
    expect(one(unit, 'KillMode')).toBe('process');
    expect(one(unit, 'OOMPolicy')).toBe('continue');
    expect(one(unit, 'RemoveIPC')).toBe('no');
    for (const harmful of ['DynamicUser', 'PrivateTmp', 'PrivateDevices', 'ProtectClock', 'RuntimeDirectory']) {
      expect([...unit.keys()]).not.toContain(harmful);
    }
    // The agent reads /proc/stat, /proc/meminfo, /proc/uptime.
    expect(unit.has('ProcSubset')).toBe(false);
  });

  test('keeps its state where `spillway agent enrol --env` says it is', async () => {
    const enrol = await readFile(`${ROOT}src/commands/agent/enrol.ts`, 'utf8');
    expect(enrol).toContain(`default: '/var/lib/${one(unit, 'StateDirectory')}'`);
    expect(one(unit, 'LoadCredential')).toBe('agent.env:/etc/spillway/agent.env');
    expect(one(unit, 'ExecStart')).toContain('${CREDENTIALS_DIRECTORY}/agent.env');
  });

  /** What `reload` relies on: USR2 ends the agent with 0, so that Restart=always brings it back. */
  test('reloads with a signal after which the agent exits 0', async () => {
    expect(one(unit, 'ExecReload')).toBe('/bin/kill -USR2 $MAINPID');
    const folder = await mkdtemp(join(tmpdir(), 'spillway-unit-agent-'));
    const file = join(folder, 'agent.env');
    // Port 9 of loopback: nobody answers, so the agent is in its wait for the next try.
    const settings = [
      'SPILLWAY_URL=http://127.0.0.1:9',
      `SPILLWAY_STATE_DIR=${folder}/state`,
      'SPILLWAY_ENROL_TOKEN=0123456789abcdef',
    ];
    await writeFile(file, `${settings.join('\n')}\n`, { mode: 0o600 });
    const agent = spawn('/bin/sh', [`${ROOT}src/agent/spillway-agent.sh`, file], { stdio: 'ignore' });
    const exited = once(agent, 'exit');
    try {
      await expect
        .poll(async () => await readFile(`${folder}/state/report`, 'utf8').catch(() => ''), { timeout: 10_000 })
        .toContain('protocol 1');
      agent.kill('SIGUSR2');
      expect(await exited).toStrictEqual([0, null]);
    } finally {
      agent.kill('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    }
  });
});
