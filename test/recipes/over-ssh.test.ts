/**
 * Goal: recipes work as they are brought: over real SSH, on a machine that is bought for a task, joins, works, drains and leaves.
 * Method: the demo's real processes and a simulated region, whose machines are folders. The recipe for Docker goes onto one, with
 * programs that only write down how they were called, and with a container that runs on after the task.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SCENARIO } from '../../examples/demo/scenario.ts';
import { Stack } from '../../examples/demo/stack.ts';
import { glance } from '../../examples/demo/watch.ts';
import type { AgentDocument } from '../../src/ports/reports.ts';
import { until } from '../support/wait.ts';
import { RECIPES } from './sandbox.ts';

const WAIT = { deadlineMs: 60_000, everyMs: 200 };

/** Programs for the machine, and the recipe as its user would copy it, with one line that has it find them. */
function prepareMachine(folder: string) {
  const [programs, root, calls] = ['programs', 'root', 'calls'].map((name) => join(folder, name));
  mkdirSync(programs ?? '');
  for (const name of ['docker', 'dockerd', 'systemctl']) {
    const answer = name === 'docker' ? `[ "$1 $*" != "ps ps -q" ] || cat '${folder}/containers'` : '';
    writeFileSync(join(programs ?? '', name), `#!/bin/sh\necho "$0 $*" >>'${calls}'\n${answer}\n`, { mode: 0o755 });
  }
  writeFileSync(join(folder, 'containers'), 'c1\n');
  const set = `DESTDIR='${root}' PATH='${programs}':"$PATH"`;
  const lib = `${root}/usr/local/lib/spillway`;
  const script = readFileSync(join(RECIPES, 'docker/join.sh'), 'utf8');
  writeFileSync(
    join(folder, 'join.sh'),
    `${set}; export DESTDIR PATH\n${script}\necho "SPILLWAY_PROBE=${set} ${lib}/probe" >>"$SPILLWAY_AGENT_SETTINGS"
printf 'SPILLWAY_NAME=another' >>"$SPILLWAY_AGENT_SETTINGS"\n`,
  );
  const halves = ['ready', 'drain', 'leave', 'probe'].map((half) => join(RECIPES, `docker/${half}.sh`));
  const recipe = `{ script: ${join(folder, 'join.sh')}, files: [${[join(RECIPES, 'common.sh'), ...halves].join(', ')}] }`;
  const hook = (half: string) => JSON.stringify(`${set} ${lib}/${half}`);
  return {
    change: (text: string) =>
      text
        .replace('market: { spot: 50%, onDemandBase: 1 }', '')
        .replace('max: 8,', 'max: 1,')
        .replace(
          'ready: { deadline: 60s }',
          `recipe: ${recipe}\n    ready: { command: ${hook('ready')}, deadline: 60s }`,
        )
        .concat(`    hooks: { beforeDrain: ${hook('drain')}, beforeTerminate: ${hook('leave')} }\n`),
    isDraining: () => existsSync(join(root ?? '', 'run/spillway/draining')),
    endContainers: () => writeFileSync(join(folder, 'containers'), ''),
    calls: () => readFileSync(calls ?? '', 'utf8'),
  };
}

test(
  'a machine joins by a recipe, its containers hold the drain, and it leaves by the recipe',
  { timeout: 240_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-recipe-'));
    const machine = prepareMachine(folder);
    const stack = await Stack.create();
    let failed = true;
    try {
      await stack.startRegion();
      await stack.startService();
      await stack.crashService();
      const file = join(stack.folder, 'policies/render.yaml');
      writeFileSync(file, machine.change(readFileSync(file, 'utf8')));
      await stack.launchService();
      const command = ['sh', '-c', 'echo worked'];
      await stack.client.post('TaskReceipt', '/v1/tasks', { workload: SCENARIO.workload, command, count: 1 });
      await until('the task is done', async () => (await glance(stack)).status.tasks.done === 1, WAIT);
      const [bought] = (await glance(stack)).machines;
      const agent = async () =>
        (await stack.client.list<AgentDocument>('AgentList', '/v1/agents', { limit: 10 })).items.find(
          ({ machineId }) => machineId === bought?.id,
        );
      await until('the agent tells of the container', async () => (await agent())?.otherTasks === 1, WAIT);
      // The recipe gave it another name; what the service says wins.
      expect((await agent())?.name).toBe(bought?.id);
      await stack.client.post('MachineOrder', `/v1/machines/${bought?.id}/drain`, { by: 'somebody' });
      await until('the drain half has run', () => Promise.resolve(machine.isDraining()), WAIT);
      await until('the cordon is acknowledged', async () => (await agent())?.cordonAcknowledged === true, WAIT);
      expect((await glance(stack)).machines).toMatchObject([{ id: bought?.id, state: 'draining' }]);
      expect(machine.calls()).not.toContain('docker stop');
      machine.endContainers();
      const isOver = async () => (await glance(stack)).machines[0]?.state === 'terminated';
      await until('the machine is terminated', isOver, WAIT);
      const { items } = await stack.client.get<{ items: readonly { source: string; text: string }[] }>(
        'MachineLog',
        `/v1/machines/${bought?.id}/logs`,
      );
      expect(JSON.stringify(items)).toContain('recipe: done: ');
      failed = false;
    } finally {
      await stack.stop(failed);
      if (!failed) rmSync(folder, { recursive: true });
    }
  },
);
