/**
 * Goal: `agent install` makes an agent of a machine that nobody has prepared, and of no machine that cannot prove its key.
 * Method: the real command line, a real operator API and agent API over a real database, and simulated hosts: real SSH, a home of
 * their own.
 */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { RunInstancesCommand, EC2Client } from '@aws-sdk/client-ec2';
import { deriveHostKey } from '../../src/cloud/host-key.ts';
import { renderUserData } from '../../src/cloud/user-data.ts';
import type { AgentId } from '../../src/model/ids.ts';
import { createLogger } from '../../src/observability/log.ts';
import { createMetrics } from '../../src/observability/metrics.ts';
import { createAgentApi } from '../../src/server/agent-api/create-agent-api.ts';
import { hashToken } from '../../src/server/agent-api/credentials.ts';
import { createOperatorApi } from '../../src/server/operator-api/create-operator-api.ts';
import { startRegion } from '../../src/simulator/start.ts';
import { SIMULATED_IMAGES, SIMULATED_SUBNETS } from '../../src/simulator/world.ts';
import { createReports } from '../../src/store/reports.ts';
import { readAgentEvents } from '../../src/store/agent-events.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import { startEngine } from '../engine/start-engine.ts';
import { recordingActions } from '../server/operator-api/service.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { test as base } from '../support/database.ts';
import { quietLog } from '../support/log.ts';
import { until } from '../support/wait.ts';
import { spillway, type Finished } from './spillway.ts';

interface Datacenter {
  readonly folder: string;
  readonly knownHosts: string;
  readonly sshPort: number;
  /** A machine without an agent; its address, its home, and the line for a known_hosts file. */
  machine(): Promise<{ readonly address: string; readonly home: string; readonly knownLine: string }>;
  install(...args: string[]): Promise<Finished>;
}

function listens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

const test = base.extend<{ datacenter: Datacenter }>({
  datacenter: async ({ db, databaseUrl }, use) => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-install-'));
    const login = deriveHostKey(Buffer.alloc(32, 3), 'login');
    const identity = join(folder, 'id_ed25519');
    writeFileSync(identity, login.privateOpenSsh, { mode: 0o600 });
    const dataDir = join(folder, 'hosts');
    const region = await startRegion({
      dataDir,
      sshPort: 2226,
      throttling: false,
      pendingMs: 20,
      bootMs: 20,
      terminateMs: 20,
    });
    const client = new EC2Client({ endpoint: region.endpoint, region: 'us-east-1', credentials: region.accessKey });

    const engine = await startEngine(db, databaseUrl);
    const { gateway } = engine;
    const common = { clock: realClock, log: quietLog };
    const agentApi = createAgentApi({ ...common, gateway, deploymentKey: Buffer.alloc(32, 7), ids: randomIds });
    await agentApi.listen({ host: '127.0.0.1', port: 0 });
    const { actions } = recordingActions({
      createEnrolment: async ({ labels, ttlMs, ...order }) => {
        const token = randomIds.hex(32);
        return { token, ...(await createAgentStore(db).createEnrolment(hashToken(token), labels, ttlMs, order)) };
      },
    });
    const operatorApi = createOperatorApi({
      actions,
      reports: createReports(db),
      log: createLogger({ level: 'error' }),
      metrics: createMetrics('1.2.3'),
      clock: realClock,
      agentUrl: `http://127.0.0.1:${(agentApi.server.address() as AddressInfo).port}`,
    });
    const socketPath = join(folder, 's.sock');
    await operatorApi.listen({ path: socketPath });

    const knownHosts = join(folder, 'known_hosts');
    let count = 0;
    await use({
      folder,
      knownHosts,
      sshPort: region.sshPort,
      async machine() {
        count += 1;
        const hostKey = deriveHostKey(Buffer.alloc(32, 40 + count), 'host');
        const userData = renderUserData({
          hostKey,
          authorizedKey: login.publicOpenSsh,
          sshUser: 'ops',
        });
        const { Instances: [instance] = [] } = await client.send(
          new RunInstancesCommand({
            ImageId: SIMULATED_IMAGES.x86_64,
            InstanceType: 'c6a.large',
            SubnetId: Object.values(SIMULATED_SUBNETS)[0]!,
            MinCount: 1,
            MaxCount: 1,
            UserData: Buffer.from(userData).toString('base64'),
          }),
        );
        const address = instance?.PrivateIpAddress ?? '';
        await until('the machine answers', async () => await listens(address, region.sshPort));
        const knownLine = `[${address}]:${region.sshPort} ${hostKey.publicOpenSsh}\n`;
        return { address, home: join(dataDir, instance?.InstanceId ?? ''), knownLine };
      },
      install: async (...args) =>
        await spillway(['agent', 'install', '-i', identity, '--known-hosts', knownHosts, ...args], {
          env: { SPILLWAY_SOCKET: socketPath },
          cwd: folder,
        }),
    });
    client.destroy();
    await operatorApi.close();
    await region.stop();
    await agentApi.close();
    await engine[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  },
});

describe('agent install', () => {
  test('makes agents of several machines at once; again, it replaces them and they keep their identity', async ({
    db,
    datacenter,
    expect,
  }) => {
    const machines = [await datacenter.machine(), await datacenter.machine()];
    writeFileSync(datacenter.knownHosts, machines.map(({ knownLine }) => knownLine).join(''));
    const places = machines.map(({ address }) => `ops@${address}:${datacenter.sshPort}`);

    const first = await datacenter.install('-o', 'json', '-l', 'pool=media', ...places);
    expect(first).toMatchObject({ exitCode: 0 });
    const { items } = JSON.parse(first.stdout) as { items: { host: string; result: string; agentId: string }[] };
    expect(items).toMatchObject(
      machines.map(({ address }) => ({ host: address, result: 'reporting', manager: 'none' })),
    );
    const rows = await db
      .selectFrom('agents')
      .select(['id', 'name', 'site', 'labels', 'boot_id'])
      .orderBy('id')
      .execute();
    expect(rows.map(({ id }) => id).sort()).toEqual(items.map(({ agentId }) => agentId).sort());
    for (const row of rows) expect(row).toMatchObject({ site: 'on-prem', labels: { pool: 'media' } });
    const files = join(machines[0]!.home, '.spillway-agent');
    expect(statSync(join(files, 'agent.env')).mode & 0o777).toBe(0o600);
    expect(existsSync(join(files, 'agent.settings'))).toBe(false);
    expect(`${first.stdout}${first.stderr}`).not.toContain(
      /ENROL_TOKEN=(\w+)/.exec(readFileSync(join(files, 'agent.env'), 'utf8'))![1]!,
    );

    expect(await datacenter.install('-q', '--reason', 'a new script', ...places)).toMatchObject({ exitCode: 0 });
    const after = await db.selectFrom('agents').select(['id', 'boot_id']).orderBy('id').execute();
    expect(after.map(({ id }) => id)).toEqual(rows.map(({ id }) => id));
    expect(after.map(({ boot_id: boot }) => boot)).not.toEqual(rows.map(({ boot_id: boot }) => boot));
    const actor = userInfo().username;
    for (const { id } of rows) {
      expect(await readAgentEvents(db, id as AgentId)).toMatchObject([
        { event: 'register', actor, reason: null },
        { event: 'install', actor, reason: 'a new script' },
      ]);
    }
  });

  test('leaves alone a machine whose key is not known, and one that shows another key, whatever it is told to accept', async ({
    db,
    datacenter,
    expect,
  }) => {
    const [unknown, other] = [await datacenter.machine(), await datacenter.machine()];
    const wrong = `[${other.address}]:${datacenter.sshPort} ${deriveHostKey(Buffer.alloc(32, 99), 'host').publicOpenSsh}\n`;
    writeFileSync(datacenter.knownHosts, wrong);
    const places = [unknown, other].map(({ address }) => `ops@${address}:${datacenter.sshPort}`);

    const strict = await datacenter.install('-o', 'json', ...places);
    expect(strict.exitCode).toBe(1);
    const { items } = JSON.parse(strict.stdout) as { items: unknown[] };
    expect(items).toMatchObject([{ result: 'SSH_HOST_KEY' }, { result: 'SSH_HOST_KEY' }]);
    expect(await db.selectFrom('enrolments').selectAll().execute()).toEqual([]);

    const accepting = await datacenter.install('--host-key', 'accept-new', '-o', 'json', ...places);
    expect(accepting.exitCode).toBe(1);
    const after = JSON.parse(accepting.stdout) as { items: unknown[] };
    expect(after.items).toMatchObject([{ result: 'reporting' }, { result: 'SSH_HOST_KEY' }]);
    const known = readFileSync(datacenter.knownHosts, 'utf8');
    expect(known.startsWith(wrong)).toBe(true);
    expect(known).toContain(unknown.knownLine.trim().split(' ').slice(0, 3).join(' '));
    expect(existsSync(join(other.home, '.spillway-agent'))).toBe(false);
  });

  test.for([['rack-1'], ['ops@-oProxyCommand=id'], ['ops@rack-1:0'], ['ops@rack 1'], ['$(id)@rack-1']])(
    '%s is no place to log in, and nothing is asked of the service',
    async ([place], { datacenter, expect }) => {
      expect(await datacenter.install(place!)).toMatchObject({ exitCode: 2, stdout: '' });
    },
  );
});
