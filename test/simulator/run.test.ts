import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EC2Client, RunInstancesCommand } from '@aws-sdk/client-ec2';
import { expect, test } from 'vitest';
import { SIMULATED_ACCESS_KEY } from '../../src/simulator/world.ts';
import { until } from '../support/wait.ts';
import { LAUNCH } from './support.ts';

const RUN_URL = new URL('../../src/simulator/run.ts', import.meta.url).href;

test.each(['SIGTERM', 'SIGINT'] as const)(
  'a region in a process of its own says where it is, and ends cleanly on %s',
  async (signal) => {
    const temporary = await mkdtemp(join(tmpdir(), 'spillway-run-test-'));
    const script = `import { runRegionUntilSignal } from ${JSON.stringify(RUN_URL)};
    await runRegionUntilSignal({ bootMs: 10, pendingMs: 5, terminateMs: 5, sshPort: 2225 });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, TMPDIR: temporary },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const exited = once(child, 'exit');
    let [said, errors] = ['', ''];
    child.stdout.on('data', (data: Buffer) => (said += data.toString()));
    child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
    try {
      const endpoint = await until('the endpoint is said', () => /^AWS_ENDPOINT_URL_EC2=(\S+)\n$/.exec(said)?.[1]);
      const client = new EC2Client({ endpoint, region: 'us-east-1', credentials: SIMULATED_ACCESS_KEY });
      await client.send(new RunInstancesCommand(LAUNCH));
      client.destroy();
      const instanceFolders = async () =>
        (await Promise.all((await readdir(temporary)).map((name) => readdir(join(temporary, name))))).flat();
      await until('the instance has a folder', async () => (await instanceFolders()).length === 1);
      child.kill(signal);
      expect(await exited).toEqual([0, null]);
      expect(errors).toBe('');
      expect(await readdir(temporary)).toEqual([]);
      await expect(fetch(endpoint)).rejects.toThrow('fetch failed');
    } finally {
      child.kill('SIGKILL');
      await rm(temporary, { recursive: true, force: true });
    }
  },
);
