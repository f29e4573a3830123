import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import { describe, expect, test } from 'vitest';

import type { Stack } from '../../examples/demo/stack.ts';
import type { MachineDetails, MachineDocument, TaskDocument } from '../../src/ports/reports.ts';
import { until } from '../support/wait.ts';
import { surviveWave } from './wave.ts';

/**
 * What the join installed starts anew with a dead man of two seconds: the shortest that a policy may ask for is five minutes. Its
 * tasks stay with it (USR2), as when an agent is replaced.
 */
const HURRY = `set -eu
cd "$HOME/.spillway"
read -r agent _ <agent.pid
kill -USR2 "$agent"
while kill -0 "$agent" 2>/dev/null; do sleep 0.1; done
grep -q '^SPILLWAY_DEADMAN_S=3600$' agent.env
sed 's/^SPILLWAY_DEADMAN_S=.*/SPILLWAY_DEADMAN_S=2/' agent.env >hurry.env
nohup setsid sh ./agent.sh "$PWD/hurry.env" >hurry.log 2>&1 </dev/null &
echo "$!" >agent.pid
`;

interface RegionInstance {
  readonly instanceId: string;
  readonly state: string;
}

/** Nobody steers the machine any more: it ends itself, and EC2 ends the instance with it. */
describe('a machine whose service is gone', () => {
  test(
    'ends itself when its tasks are over, and costs no task when the service is back',
    { timeout: 240_000 },
    async () => {
      let victimId = '';
      const trouble = async (stack: Stack): Promise<void> => {
        const victim = await until('a machine works', async () => await findWorking(stack), {
          deadlineMs: 60_000,
          everyMs: 200,
        });
        victimId = victim.id;
        await stack.crashService();
        expect(await runOn(stack, victim, HURRY)).toBe(0);
        await until('EC2 has ended its instance', async () => await isTerminated(stack, victim.instanceId), {
          deadlineMs: 90_000,
          everyMs: 500,
        });
        await stack.launchService();
      };
      const afterwards = async (stack: Stack): Promise<void> => {
        const machine = await stack.client.get<MachineDetails>('Machine', `/v1/machines/${victimId}`);
        expect(machine).toMatchObject({ state: 'terminated', endReason: 'instance-gone' });
      };
      await surviveWave(trouble, { afterwards });
    },
  );
});

async function findWorking(stack: Stack): Promise<MachineDocument | undefined> {
  const query = { limit: 1000, state: 'running' };
  const { items: tasks } = await stack.client.list<TaskDocument>('TaskList', '/v1/tasks', query);
  const { items } = await stack.client.list<MachineDocument>('MachineList', '/v1/machines', { limit: 100 });
  return items.find(({ id, state }) => state === 'ready' && tasks.some(({ machineId }) => machineId === id));
}

async function isTerminated(stack: Stack, instanceId: string | null): Promise<boolean> {
  const { instances } = await stack.askRegion<{ instances: readonly RegionInstance[] }>('instances');
  return instances.some((one) => one.instanceId === instanceId && one.state === 'terminated');
}

/** As its operator would, with the key of the policy. @returns the exit code */
async function runOn(stack: Stack, { privateIp }: MachineDocument, script: string): Promise<number> {
  const policy = await readFile(join(stack.folder, 'policies/render.yaml'), 'utf8');
  const privateKey = await readFile(join(stack.folder, 'id_ed25519'));
  const port = Number(/port: (\d+)/.exec(policy)?.[1]);
  const client = new ssh2.Client();
  try {
    return await new Promise((resolve, reject) => {
      client.on('error', reject).on('ready', () => {
        client.exec('sh -s', (error, channel) => {
          if (error !== undefined) return reject(error);
          channel.on('exit', (code: number) => resolve(code)).resume();
          channel.end(script);
        });
      });
      client.connect({ host: privateIp ?? '', port, username: 'ubuntu', privateKey, readyTimeout: 20_000 });
    });
  } finally {
    client.end();
  }
}
