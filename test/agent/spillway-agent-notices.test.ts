// Goal and method as in spillway-agent.test.ts; here what an agent knows from elsewhere: EC2's notices, other engines, and silence.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import { until } from '../support/wait.ts';
import { allProcesses, which } from './agent-process.ts';
import { INSTANCE_ACTION, REBALANCE, startImds, type FakeImds } from './fake-imds.ts';
import { exitOf, isRunning, listToolboxes, PLAIN, SHELL_BOXES, test as base } from './world.ts';

const test = base.extend<{ imds: FakeImds }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads the names of the fixtures from this pattern
  imds: async ({}, use) => {
    const imds = await startImds();
    await use(imds);
    await imds.close();
  },
});

const END = '2026-11-23T01:02:03Z';

describe.concurrent.each([...listToolboxes()])('on $shell with $client', (toolbox) => {
  test('a notice of EC2 is in the next report; tasks write down how far they are, and go on elsewhere from there', async ({
    world,
    imds,
    expect,
  }) => {
    // On a slow machine the tasks must not be fenced meanwhile.
    world.gateway.timing = { intervalS: 1, leaseS: 60 };
    const settings = { SPILLWAY_IMDS: imds.url, SPILLWAY_CHECKPOINT_S: '0' };
    const { machine, agent } = await world.startMachine(toolbox, settings);
    const wait = 'while :; do sleep 0.1; done\n';
    const saving = world.gateway.assign(agent, {
      ...PLAIN,
      script: `trap 'echo step 7 >"$SPILLWAY_PROGRESS_FILE"; exit 143' TERM\n${wait}`,
    });
    const finishing = world.gateway.assign(agent, { ...PLAIN, script: `trap 'exit 0' TERM\n${wait}` });
    await until('both run', () => isRunning(agent, saving) && isRunning(agent, finishing));
    expect(agent.reports.at(-1)).not.toHaveProperty('interruption');
    // As the service does when it hears of it: what has gone must not be started once more.
    agent.cordon = { cordoned: true, generation: 1 };
    world.gateway.ring();

    imds.documents.set(REBALANCE, `{"noticeTime":"${END}"}`);
    await until('it tells of the recommendation', () => agent.reports.at(-1)?.rebalance === true);
    imds.forgetTokens();
    await until('it has asked with a token that counts no more', () => imds.refused() > 0);
    imds.documents.set(INSTANCE_ACTION, `{"action":"terminate","time":"${END}"}`);
    await until('it tells of the notice', () => agent.reports.at(-1)?.interruption?.atMs === Date.parse(END));

    await until('what one had done has arrived', () => agent.progress.get(saving) === 'step 7\n');
    await until('the other is done', () => exitOf(agent, finishing) === 0);
    await until('nothing runs any more', () => agent.reports.at(-1)?.tasks.length === 0);
    expect(exitOf(agent, saving)).toBeNull();
    expect(machine.output).toContain(`EC2 takes this machine back: terminate ${END}`);
    const { interruption, rebalance } = agent.reports.at(-1)!;
    expect({ interruption, rebalance }).toEqual({ interruption: { atMs: Date.parse(END) }, rebalance: true });
  });

  test('the token of the metadata service is in no process list', async ({ world, imds, expect }) => {
    const { machine } = await world.startMachine(toolbox, { SPILLWAY_IMDS: imds.url });
    const file = join(machine.state, 'imds.credential');
    const tokenOf = () =>
      /metadata-token: ([0-9a-f]{56})/.exec(existsSync(file) ? readFileSync(file, 'utf8') : '')?.[1];
    const token = await until('it has a token', () => tokenOf() ?? null);
    expect(allProcesses().filter(({ commandLine }) => commandLine.includes(token))).toEqual([]);
  });
});

describe.concurrent.each([...SHELL_BOXES])('on $shell', (toolbox) => {
  test('a probe tells of tasks of other engines, by number or by line, and one that fails of nothing known', async ({
    world,
    expect,
  }) => {
    const machine = world.machine(toolbox);
    const file = join(machine.folder, 'squeue');
    writeFileSync(file, '3\n');
    machine.start({ SPILLWAY_PROBE: `cat ${file}` });
    const others = () => world.gateway.agent('host-1')?.reports.at(-1)?.others;
    await until('it tells of three', () => others() === 3);
    writeFileSync(file, 'job-1 running\n\njob-2 running');
    await until('it tells of two', () => others() === 2);
    writeFileSync(file, '007\n');
    await until('it tells of seven', () => others() === 7);
    writeFileSync(file, '');
    await until('it tells of none', () => others() === 0);
    rmSync(file);
    await until('it knows nothing', () => others() === 'unknown');
    expect(world.gateway.agent('host-1')?.reports[0]?.others).toBe(3);
  });

  test(
    'a machine that cannot reach the service shuts down, but not while other engines work there or nothing is known of them',
    { timeout: 60_000 },
    async ({ world, expect }) => {
      const machine = world.machine(toolbox);
      const [probe, down] = [join(machine.folder, 'squeue'), join(machine.folder, 'down')];
      writeFileSync(probe, '1\n');
      machine.start({
        SPILLWAY_PROBE: `cat ${probe}`,
        SPILLWAY_DEADMAN_S: '1',
        SPILLWAY_SHUTDOWN: `echo "$$" >${down}`,
      });
      await until('it has reported', () => (world.gateway.agent('host-1')?.reports.length ?? 0) > 0);
      const calls = await world.cutEveryCall();
      // After the third pause at least three seconds have passed.
      await until('it has called in vain for some time', () => calls() >= 4, { deadlineMs: 30_000 });
      expect(existsSync(down)).toBe(false);
      rmSync(probe);
      const before = calls();
      await until('it has called once more', () => calls() > before, { deadlineMs: 30_000 });
      expect(existsSync(down)).toBe(false);
      writeFileSync(probe, '0\n');
      await until('it shuts the machine down', () => existsSync(down), { deadlineMs: 40_000 });
      expect(machine.output).toMatch(/no accepted report for \d+ s: shutting the machine down/);
    },
  );

  test('a machine that never reached the service shuts down, too, and one of the datacenter never does', async ({
    world,
    expect,
  }) => {
    const calls = await world.cutEveryCall();
    const [ours, theirs] = [world.machine(toolbox), world.machine(toolbox)];
    const down = [ours, theirs].map(({ folder }) => join(folder, 'down'));
    theirs.start({ SPILLWAY_SHUTDOWN: `echo >${down[1]}` });
    ours.start({ SPILLWAY_DEADMAN_S: '1', SPILLWAY_SHUTDOWN: `echo >${down[0]}` });
    await until('it shuts the machine down', () => existsSync(down[0]!), { deadlineMs: 30_000 });
    const before = calls();
    await until('both go on', () => calls() > before + 1, { deadlineMs: 30_000 });
    expect(existsSync(down[1]!)).toBe(false);
  });

  test.for([
    ['SPILLWAY_IMDS', 'http://example.com'],
    ['SPILLWAY_IMDS', 'http://127.0.0.1:1/$(id)'],
    ['SPILLWAY_DEADMAN_S', '1h'],
    ['SPILLWAY_CLIENT', 'telnet'],
    ['SPILLWAY_DEADMAN_TASKS', 'yes'],
    ['SPILLWAY_CHECKPOINT_S', '-1'],
  ] as const)('%s=%s is refused at the start', async ([name, value], { world, expect }) => {
    const machine = world.machine(toolbox);
    machine.start({ [name]: value });
    expect(await machine.exited()).toEqual({ code: 2, signal: null });
    await until('it has said why', () => machine.output.includes(name));
  });
});

test.skipIf(which('wget') === null)('of two clients it takes the one that needs less', async ({ world, expect }) => {
  const [toolbox] = SHELL_BOXES;
  const machine = world.machine(toolbox!);
  machine.bring('wget');
  machine.start();
  const waiting = await until('its client waits for an answer', () =>
    world.gateway.waiting > 0 ? machine.processes().map(({ commandLine }) => commandLine) : null,
  );
  expect(waiting.filter((line) => /(^|\/)curl\b/.test(line))).toEqual([]);
  expect(waiting.filter((line) => /(^|\/)wget\b/.test(line))).not.toEqual([]);
});

test('the client may be chosen, and is never another', async ({ world, expect }) => {
  const [toolbox] = SHELL_BOXES;
  const machine = world.machine(toolbox!);
  machine.start({ SPILLWAY_CLIENT: 'wget' });
  expect(await machine.exited()).toEqual({ code: 2, signal: null });
  await until('it has said why', () =>
    machine.output.includes('needs curl or GNU wget, and SPILLWAY_CLIENT says wget'),
  );
  const { agent } = await world.startMachine(toolbox!, { SPILLWAY_CLIENT: 'curl' });
  expect(agent.reports.length).toBeGreaterThan(0);
});
