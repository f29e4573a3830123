import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import {
  EC2Client,
  GetConsoleOutputCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import type { RunInstancesRequest } from '@aws-sdk/client-ec2';
import type { Client, SFTPWrapper } from 'ssh2';
import ssh2 from 'ssh2';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deriveHostKey } from '../../src/cloud/host-key.ts';
import type { HostKind } from '../../src/simulator/hosts/fleet.ts';
import { SSHD_PATH } from '../../src/simulator/hosts/openssh-host.ts';
import { listInstanceProcesses } from '../../src/simulator/hosts/processes.ts';
import type { RunningRegion } from '../../src/simulator/start.ts';
import { startRegion } from '../../src/simulator/start.ts';
import { until } from '../support/wait.ts';
import { LAUNCH } from './support.ts';

// Goal: what boots is a real SSH host with the key it was given, and nothing of it is left after the end.
// Method: the SDK launches, the ssh2 client logs in, /proc tells what still runs. Boot takes 50 ms.

const hostKey = makeKeyPair();
const userKey = makeKeyPair();
const strangerKey = makeKeyPair();

/** ssh2's own generator drops a leading zero byte, so that one key in 256 is malformed. */
function makeKeyPair(): { readonly private: string; readonly public: string } {
  const pair = deriveHostKey(randomBytes(32), 'test');
  return { private: pair.privateOpenSsh, public: pair.publicOpenSsh };
}

function cloudConfig(): string {
  const text = [
    '#cloud-config',
    'ssh_keys:',
    '  ed25519_private: |',
    ...hostKey.private
      .trimEnd()
      .split('\n')
      .map((line) => `    ${line}`),
    `  ed25519_public: ${hostKey.public}`,
    'users:',
    '  - default',
    '  - name: ubuntu',
    '    ssh_authorized_keys:',
    `      - ${userKey.public}`,
    '',
  ];
  return Buffer.from(text.join('\n')).toString('base64');
}

interface Login {
  readonly client: Client;
  /** The host key the server proved, in the form `ssh-ed25519 AAAA...`. */
  readonly seenKey: string;
}

function login(host: { privateIp: string; port: number }, privateKey: string, username = 'ubuntu'): Promise<Login> {
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client();
    let seenKey = '';
    client.on('ready', () => {
      client.setNoDelay(true);
      resolve({ client, seenKey });
    });
    client.on('error', reject);
    client.connect({
      host: host.privateIp,
      port: host.port,
      username,
      privateKey,
      readyTimeout: 5_000,
      hostVerifier: (key: Buffer) => {
        seenKey = `ssh-ed25519 ${key.toString('base64')}`;
        return true;
      },
    });
  });
}

function run(client: Client, command: string): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, channel) => {
      if (error) return reject(error);
      let [stdout, stderr, code] = ['', '', -1];
      channel.on('data', (data: Buffer) => (stdout += data.toString()));
      channel.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
      channel.on('exit', (exitCode: number) => (code = exitCode));
      channel.on('close', () => resolve({ code, stdout, stderr }));
    });
  });
}

const sftpOf = (client: Client) =>
  new Promise<SFTPWrapper>((resolve, reject) => client.sftp((error, sftp) => (error ? reject(error) : resolve(sftp))));

/** Runs one callback-style SFTP request. */
const ask = <T>(act: (done: (error: Error | null | undefined, value?: T) => void) => void) =>
  new Promise<T>((resolve, reject) => act((error, value) => (error ? reject(error) : resolve(value as T))));

function isListening(host: { privateIp: string; port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: host.privateIp, port: host.port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

class Setup {
  readonly running: RunningRegion;
  readonly dataDir: string;
  readonly client: EC2Client;

  constructor(running: RunningRegion, dataDir: string) {
    this.running = running;
    this.dataDir = dataDir;
    this.client = new EC2Client({
      endpoint: running.endpoint,
      region: 'us-east-1',
      credentials: running.accessKey,
      maxAttempts: 1,
    });
  }

  static async start(host: HostKind): Promise<Setup> {
    const dataDir = await mkdtemp(join(tmpdir(), 'spillway-hosts-test-'));
    const errors: unknown[] = [];
    const running = await startRegion({
      host,
      dataDir,
      sshPort: 2224,
      throttling: false,
      pendingMs: 20,
      bootMs: 50,
      terminateMs: 50,
      onError: (error) => errors.push(error),
    });
    return new Setup(running, dataDir);
  }

  /** Launches one instance and waits until its SSH port is open. */
  async boot(
    input: Partial<RunInstancesRequest> = {},
  ): Promise<{ instanceId: string; privateIp: string; port: number; directory: string }> {
    const { Instances: [instance] = [] } = await this.client.send(
      new RunInstancesCommand({
        ...LAUNCH,
        UserData: cloudConfig(),
        InstanceInitiatedShutdownBehavior: 'terminate',
        ...input,
      }),
    );
    const instanceId = instance?.InstanceId ?? '';
    const host = { privateIp: instance?.PrivateIpAddress ?? '', port: this.running.sshPort };
    await until('the host answers', () => isListening(host));
    return { instanceId, ...host, directory: join(this.dataDir, instanceId) };
  }

  async terminate(instanceId: string): Promise<void> {
    await this.client.send(new TerminateInstancesCommand({ InstanceIds: [instanceId] }));
  }

  async stop(): Promise<void> {
    this.client.destroy();
    await this.running.stop();
    await rm(this.dataDir, { recursive: true, force: true });
  }
}

describe('an SSH host of the ssh2 package', () => {
  let setup: Setup;
  beforeAll(async () => {
    setup = await Setup.start('ssh2');
  });
  afterAll(() => setup.stop());

  test('presents the injected host key, lets the injected login key in under any name, and refuses every other', async () => {
    const host = await setup.boot();
    const { client, seenKey } = await login(host, userKey.private, 'anybody');
    expect(seenKey).toBe(hostKey.public.split(' ').slice(0, 2).join(' '));
    client.end();
    await expect(login(host, strangerKey.private)).rejects.toMatchObject({ level: 'client-authentication' });
  });

  test('prints its host key on the console after boot', async () => {
    const host = await setup.boot();
    const output = await until('the console says something', async () => {
      const answer = await setup.client.send(new GetConsoleOutputCommand({ InstanceId: host.instanceId }));
      return answer.Output;
    });
    const text = Buffer.from(output, 'base64').toString();
    expect(text).toMatch(/-----BEGIN SSH HOST KEY KEYS-----\r\nssh-ed25519 \S+ root@ip-127-2\d-\d+-\d+\r\n-----END/);
    expect(text).toContain(hostKey.public.split(' ')[1]);
  });

  test('runs commands as real processes at home, with the simulated hardware, and tells output, errors and exit code', async () => {
    const host = await setup.boot({ InstanceType: 'c5.2xlarge' });
    const { client } = await login(host, userKey.private);
    const result = await run(
      client,
      'pwd; echo "$HOME $SPILLWAY_CPUS $SPILLWAY_MEMORY_MIB $USER"; echo oops >&2; exit 7',
    );
    expect(result).toEqual({
      code: 7,
      stdout: `${host.directory}\n${host.directory} 8 16384 ubuntu\n`,
      stderr: 'oops\n',
    });
    expect(await run(client, 'sudo -n -E echo as-root')).toMatchObject({ code: 0, stdout: 'as-root\n' });
    // The environment of the simulation itself must not show.
    expect((await run(client, 'env')).stdout).not.toContain('VITEST');
    client.end();
  });

  test('offers a shell without a terminal', async () => {
    const host = await setup.boot();
    const { client } = await login(host, userKey.private);
    const stdout = await new Promise<string>((resolve, reject) => {
      client.shell(false, (error, channel) => {
        if (error) return reject(error);
        let text = '';
        channel.on('data', (data: Buffer) => (text += data.toString()));
        channel.on('close', () => resolve(text));
        channel.end('echo from the shell\nexit\n');
      });
    });
    expect(stdout).toBe('from the shell\n');
    client.end();
  });

  test('takes files over SFTP, shows them where commands see them, and does all of the file requests', async () => {
    const host = await setup.boot();
    const { client } = await login(host, userKey.private);
    const sftp = await sftpOf(client);
    const content = Buffer.alloc(300_000, 'spillway ');
    await ask((done) => sftp.mkdir('deep', done));
    await ask((done) => sftp.writeFile('deep/big.txt', content, { mode: 0o755 }, done));
    expect((await run(client, 'wc -c < deep/big.txt; [ -x deep/big.txt ] && echo yes')).stdout).toBe('300000\nyes\n');
    expect((await ask<Buffer>((done) => sftp.readFile('deep/big.txt', done))).equals(content)).toBe(true);
    expect(await ask<string>((done) => sftp.realpath('.', done))).toBe(host.directory);
    // What REALPATH tells is good in SFTP and in commands.
    await ask((done) => sftp.chmod(`${host.directory}/deep/big.txt`, 0o600, done));
    expect((await ask<{ mode: number }>((done) => sftp.stat('deep/big.txt', done))).mode & 0o777).toBe(0o600);
    await ask((done) => sftp.rename('deep/big.txt', 'deep/small.txt', done));
    expect(
      (await ask<{ filename: string }[]>((done) => sftp.readdir('deep', done))).map(({ filename }) => filename),
    ).toEqual(['small.txt']);
    await ask((done) => sftp.unlink('deep/small.txt', done));
    await ask((done) => sftp.rmdir('deep', done));
    await expect(ask((done) => sftp.stat('deep', done))).rejects.toMatchObject({ code: 2 });
    client.end();
  });

  test('keeps SFTP inside the instance, through dots, absolute paths and links', async () => {
    const host = await setup.boot();
    const { client } = await login(host, userKey.private);
    const sftp = await sftpOf(client);
    await ask((done) => sftp.writeFile('../../escape.txt', 'x', done));
    expect(existsSync(join(host.directory, 'escape.txt'))).toBe(true);
    await expect(ask((done) => sftp.readFile('/etc/hostname', done))).rejects.toMatchObject({ code: 2 });
    await symlink('/etc', join(host.directory, 'way-out'));
    await symlink('/etc/hostname', join(host.directory, 'file-out'));
    await symlink(`${host.directory}-made-by-a-link`, join(host.directory, 'dangling'));
    await expect(ask((done) => sftp.readFile('way-out/hostname', done))).rejects.toMatchObject({ code: 3 });
    await expect(ask((done) => sftp.readdir('way-out', done))).rejects.toMatchObject({ code: 3 });
    await expect(ask((done) => sftp.readFile('file-out', done))).rejects.toMatchObject({ code: 3 });
    await expect(ask((done) => sftp.writeFile('dangling', 'x', done))).rejects.toMatchObject({ code: 3 });
    expect(existsSync(`${host.directory}-made-by-a-link`)).toBe(false);
    await expect(ask((done) => sftp.writeFile('file-out', 'x', done))).rejects.toMatchObject({ code: 3 });
    client.end();
  });

  test('termination ends every process, also one that left its session, its parent and its environment', async () => {
    const host = await setup.boot();
    const { client } = await login(host, userKey.private);
    const lost = new Promise((resolve) => client.once('close', () => resolve(undefined)));
    client.on('error', () => client.end());
    await run(
      client,
      'setsid sleep 1000 >/dev/null 2>&1 </dev/null & env -i setsid sleep 1001 >/dev/null 2>&1 </dev/null & exit 0',
    );
    const before = await until('both run', () => {
      const pids = listInstanceProcesses(host.instanceId, host.directory);
      return pids.length === 2 ? pids : null;
    });
    await setup.terminate(host.instanceId);
    await lost;
    await until('no process is left', () => listInstanceProcesses(host.instanceId, host.directory).length === 0);
    for (const pid of before)
      expect(existsSync(`/proc/${pid}/cwd`) && readdirSync('/proc').includes(String(pid))).toBe(false);
    await until('the folder is gone', () => !existsSync(host.directory));
    expect(await isListening(host)).toBe(false);
  });

  test('shutdown on the instance ends it', async () => {
    const host = await setup.boot();
    const { client } = await login(host, userKey.private);
    client.on('error', () => client.end());
    await run(client, 'shutdown -h now');
    await until('the folder is gone', () => !existsSync(host.directory));
    const find = () => setup.running.region.findInstance(host.instanceId);
    await until('the region says terminated', () => find()?.state === 'terminated');
    expect(
      setup.running.region.eventsSince(0).findLast(({ instanceId }) => instanceId === host.instanceId),
    ).toMatchObject({
      kind: 'terminated',
      cause: 'guest',
    });
  });

  test('a rotated host key is the one of the next connection', async () => {
    const host = await setup.boot();
    const { client } = await login(host, userKey.private);
    const rotated = makeKeyPair();
    await run(client, `cat > "$SPILLWAY_HOST_KEY_FILE" <<'KEY'\n${rotated.private}KEY\n`);
    client.end();
    const next = await login(host, userKey.private);
    expect(next.seenKey).toBe(rotated.public.split(' ').slice(0, 2).join(' '));
    next.client.end();
  });

  test('a region that stops leaves no process, port or file behind, and stopping twice is harmless', async () => {
    const other = await Setup.start('ssh2');
    const host = await other.boot();
    const { client } = await login(host, userKey.private);
    client.on('error', () => client.end());
    await run(client, 'setsid sleep 1000 >/dev/null 2>&1 </dev/null & exit 0');
    await Promise.all([other.running.stop(), other.running.stop()]);
    expect(listInstanceProcesses(host.instanceId, host.directory)).toEqual([]);
    expect(readdirSync(other.dataDir)).toEqual([]);
    expect(await isListening(host)).toBe(false);
    await expect(fetch(other.running.endpoint)).rejects.toThrow('fetch failed');
    await other.stop();
  });

  test('two regions at the same time never give the same address', async () => {
    const other = await Setup.start('ssh2');
    const [mine, theirs] = [await setup.boot(), await other.boot()];
    expect(theirs.privateIp).not.toBe(mine.privateIp);
    await other.stop();
  });
});

const hasSshd = existsSync(SSHD_PATH);
if (!hasSshd) process.stderr.write(`SKIPPED: hosts by OpenSSH, because ${SSHD_PATH} does not exist\n`);

describe.runIf(hasSshd)('an SSH host by OpenSSH', () => {
  test('presents the injected key, runs commands at home, takes files, and dies with the instance', async () => {
    const setup = await Setup.start('openssh');
    try {
      const host = await setup.boot();
      const { client, seenKey } = await login(host, userKey.private, userInfo().username);
      client.on('error', () => client.end());
      expect(seenKey).toBe(hostKey.public.split(' ').slice(0, 2).join(' '));
      expect(await run(client, 'pwd; echo $SPILLWAY_CPUS')).toMatchObject({
        code: 0,
        stdout: `${host.directory}\n2\n`,
      });
      const sftp = await sftpOf(client);
      await ask((done) => sftp.writeFile('hello.txt', 'hello', done));
      expect(await readFile(join(host.directory, 'hello.txt'), 'utf8')).toBe('hello');
      await expect(login(host, strangerKey.private, userInfo().username)).rejects.toMatchObject({
        level: 'client-authentication',
      });
      await run(client, 'setsid sleep 1000 >/dev/null 2>&1 </dev/null & exit 0');
      await setup.terminate(host.instanceId);
      await until('no process is left', () => listInstanceProcesses(host.instanceId, host.directory).length === 0);
      await until('the port is closed', async () => !(await isListening(host)));
    } finally {
      await setup.stop();
    }
  });
});
