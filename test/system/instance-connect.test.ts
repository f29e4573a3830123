/**
 * Goal: a machine joins, works and leaves with keys that EC2 Instance Connect brings, and no private half is left anywhere.
 * Method: the demo's real processes and the real SDK, a region that enforces infra/iam-policy.json, and joins over real SSH.
 */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { SCENARIO } from '../../examples/demo/scenario.ts';
import { Stack } from '../../examples/demo/stack.ts';
import { glance } from '../../examples/demo/watch.ts';
import { sshProgram } from '../support/sshd.ts';
import { until } from '../support/wait.ts';

const WAIT = { deadlineMs: 60_000, everyMs: 200 };
const transports = (['ssh2', 'openssh'] as const).filter((name) => name === 'ssh2' || sshProgram !== null);

/** Files of the service, its database and log included, that hold a private key of OpenSSH. */
async function filesWithKeys(folder: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (entry.isFile() && (await readFile(file)).includes('OPENSSH PRIVATE KEY')) found.push(file);
  }
  return found;
}

test.each(transports)(
  'a machine joins over %s with a key per log-in, though the first push is throttled, and works',
  { timeout: 200_000 },
  async (transport) => {
    // Short, because the path of a socket has 104 characters at most.
    const sessions = await mkdtemp(join(tmpdir(), 'sw-'));
    const stack = await Stack.create({ TMPDIR: sessions });
    let failed = true;
    try {
      await stack.startRegion();
      await stack.startService();
      await stack.crashService();
      const file = join(stack.folder, 'policies/render.yaml');
      const keyFile = join(stack.folder, 'id_ed25519');
      const text = await readFile(file, 'utf8');
      await writeFile(
        file,
        text
          .replace(`identity: { file: ${keyFile} }`, `transport: ${transport}, identity: { instanceConnect: true }`)
          .replace('deadline: 60s\n', 'deadline: 60s\n    hooks: { beforeTerminate: touch "$HOME/goodbye" }\n')
          .replace('max: 8,', 'max: 1,'),
      );
      await rm(keyFile);
      await stack.failNext('SendSSHPublicKey', 'ThrottlingException');
      await stack.launchService();
      const command = ['sh', '-c', 'echo worked'];
      await stack.client.post('TaskReceipt', '/v1/tasks', { workload: SCENARIO.workload, command, count: 1 });
      await until('the task is done', async () => (await glance(stack)).status.tasks.done === 1, WAIT);
      await until('it is gone', async () => (await glance(stack)).machines[0]?.state === 'terminated', WAIT);
      expect(await stack.askRegion<{ instances: unknown[] }>('instances')).toMatchObject({
        instances: [{ state: 'terminated' }],
      });
      expect(await filesWithKeys(stack.folder)).toEqual([]);
      const log = await readFile(join(stack.folder, 'service.log'), 'utf8');
      expect(log).toContain('SendSSHPublicKey');
      expect(log).not.toContain('hook failed');
      expect((await readdir(sessions)).filter((name) => name.startsWith('sw-ssh-'))).toEqual([]);
      failed = false;
    } finally {
      await stack.stop(failed);
      await rm(sessions, { recursive: true, force: true });
    }
  },
);
