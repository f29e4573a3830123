/**
 * Goal: a recipe that a user copies does what it says on a machine that works, on one that does not yet, and on one that it has
 * prepared before. Method: each runs in a folder of its own, under every shell that a machine may have as `sh`, with programs that
 * write down how they were called.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parsePolicy } from '../../src/policy/parse.ts';
import { CASES, DOWNLOAD, WILD } from './cases.ts';
import { RECIPES, Sandbox, SHELLS } from './sandbox.ts';
import type { Outcome } from './sandbox.ts';

/** What a second run has no reason for. */
const REPEATED = /^apt-get|\[restart\]|\[-o\] \[.*\/root\/|^kubeadm \[join\]|^dpkg \[-i\]/;
/** How many tasks the programs of the cases tell of. */
const PROBED = { slurm: 3, nomad: 3, mesos: 3, kubeadm: 3, k3s: 3, docker: 2 };
/** Whom the probes ask. */
const ASKED = { slurm: 'squeue', nomad: 'nomad', mesos: 'curl', kubeadm: 'kubectl', k3s: 'k3s', docker: 'docker' };
/** Where a recipe leaves its probe. */
const PROBE = 'usr/local/lib/spillway/probe';
const NAMES = Object.keys(CASES);

/** The policy beside the recipe says which files it brings. */
function policyOf(name: string) {
  const file = join(RECIPES, name, 'policy.yaml');
  const text = readFileSync(file, 'utf8');
  // The private key is on the user's machine; any file that is there stands in for it.
  const result = parsePolicy(text.replace('/etc/spillway/id_ed25519', file), { file });
  if (!result.ok) throw new Error(`${name}: ${JSON.stringify(result.issues)}`);
  return result.policy;
}

function caseOf(name: string) {
  const found = CASES[name];
  if (found === undefined) throw new Error(`no case for ${name}`);
  return found;
}

function joinWith(sandbox: Sandbox, name: string, settings: Readonly<Record<string, string>>): Outcome {
  const { script, files = [] } = policyOf(name).join.recipe;
  return sandbox.join(script ?? '', files, settings);
}

describe.each(SHELLS)('under %s', (_, shell) => {
  test.each(NAMES)('%s makes the same machine when it runs twice, and says that nothing had to change', (name) => {
    using sandbox = new Sandbox(shell);
    const { settings, prepare } = caseOf(name);
    prepare(sandbox);
    const first = joinWith(sandbox, name, settings);
    expect(first).toMatchObject({ exitCode: 0, output: expect.stringMatching(/recipe: done: \d+ changes\n/) });
    const tree = sandbox.tree();
    sandbox.calls();
    const second = joinWith(sandbox, name, settings);
    expect(second).toMatchObject({
      exitCode: 0,
      output: expect.stringContaining('recipe: done: nothing had to change\n'),
    });
    expect(sandbox.tree()).toEqual(tree);
    // Above all no service is restarted: work may run by now.
    expect(sandbox.calls().filter((call) => REPEATED.test(call))).toEqual([]);
  });

  test.each(NAMES)('%s says not now when nothing can be had from outside, and works when it can', (name) => {
    using sandbox = new Sandbox(shell);
    const { settings, prepare } = caseOf(name);
    prepare(sandbox);
    sandbox.cutOff();
    const away = joinWith(sandbox, name, settings);
    expect(away).toMatchObject({ exitCode: 75, output: expect.stringContaining('not now: ') });
    sandbox.comeBack();
    expect(joinWith(sandbox, name, settings)).toMatchObject({ exitCode: 0 });
  });

  test.each(NAMES.filter((name) => caseOf(name).required !== null))('%s names the setting that is missing', (name) => {
    using sandbox = new Sandbox(shell);
    const { settings, required, prepare } = caseOf(name);
    prepare(sandbox);
    const rest = Object.fromEntries(Object.entries(settings).filter(([key]) => key !== required));
    expect(joinWith(sandbox, name, rest)).toMatchObject({
      exitCode: 2,
      output: expect.stringContaining(`${required} is missing`),
    });
  });

  test.each(NAMES.filter((name) => caseOf(name).wild !== null))(
    '%s brings every sign of a value where it belongs',
    (name) => {
      using sandbox = new Sandbox(shell);
      const { settings, wild, prepare } = caseOf(name);
      prepare(sandbox);
      expect(joinWith(sandbox, name, { ...settings, ...wild?.settings })).toMatchObject({ exitCode: 0 });
      expect(sandbox.read(wild?.file ?? '')).toContain(wild?.found.trimEnd());
      // Only root may read it: it may be a secret.
      const kept = sandbox.tree().filter((line) => line.includes(wild?.found.trimEnd() ?? ''));
      expect(kept.filter((line) => !line.startsWith(`${wild?.file} 600 `))).toEqual([]);
    },
  );

  const halves = NAMES.flatMap((name) => Object.keys(caseOf(name).halves).map((half) => [name, half] as const));
  test.each(halves)('%s: its %s makes the right calls', (name, half) => {
    using sandbox = new Sandbox(shell);
    const { settings, halves: expected, prepare } = caseOf(name);
    prepare(sandbox);
    expect(joinWith(sandbox, name, settings)).toMatchObject({ exitCode: 0 });
    sandbox.calls();
    if (half === 'leave') sandbox.put(PROBE, 'echo 0\n');
    expect(sandbox.half(half)).toMatchObject({ exitCode: 0 });
    const calls = sandbox.calls().join('\n').replaceAll(sandbox.root, 'ROOT');
    expect(calls).toBe(expected[half]?.join('\n'));
  });

  test.each(Object.entries(PROBED))('%s: its probe tells of the tasks that the scheduler has there', (name, tasks) => {
    using sandbox = new Sandbox(shell);
    const { settings, prepare } = caseOf(name);
    prepare(sandbox);
    expect(joinWith(sandbox, name, settings)).toMatchObject({ exitCode: 0 });
    expect(sandbox.agentSettings()).toBe('SPILLWAY_PROBE=/usr/local/lib/spillway/probe\n');
    expect(sandbox.half('probe')).toEqual({ exitCode: 0, output: `${tasks}\n` });
  });
});

test.each(['nomad', 'mesos', 'kubeadm', 'k3s'])(
  '%s does not leave while its scheduler still has work there',
  (name) => {
    using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
    const { settings, prepare } = caseOf(name);
    prepare(sandbox);
    expect(joinWith(sandbox, name, settings)).toMatchObject({ exitCode: 0 });
    sandbox.calls();
    expect(sandbox.half('leave')).toEqual({ exitCode: 1, output: expect.stringContaining('work runs here: not yet') });
    const { leave = [], probe = [] } = caseOf(name).halves;
    // It closes the node and asks; the rest is left for when the work is gone.
    const called = sandbox.calls().join('\n').replaceAll(sandbox.root, 'ROOT');
    expect(called.startsWith([leave[0], ...probe].join('\n'))).toBe(true);
    expect(called).not.toContain(leave.at(-1));
    expect(called).not.toContain('[stop]');
  },
);

test('every recipe of a scheduler has a probe', () => {
  const probes = NAMES.filter((name) => policyOf(name).join.recipe.files?.some((file) => file.endsWith('/probe.sh')));
  expect(probes.sort()).toEqual(Object.keys(PROBED).sort());
});

test('a probe fails where its scheduler does not answer, which counts as work', () => {
  for (const [name, program] of Object.entries(ASKED)) {
    using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
    const { settings, prepare } = caseOf(name);
    prepare(sandbox);
    expect(joinWith(sandbox, name, settings)).toMatchObject({ exitCode: 0 });
    sandbox.answer(program, 'echo "no route" >&2; exit 1');
    expect([name, sandbox.half('probe').exitCode]).not.toEqual([name, 0]);
  }
});

test('a probe of Nomad takes no error for an empty list', () => {
  using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
  const { settings, prepare } = caseOf('nomad');
  prepare(sandbox);
  expect(joinWith(sandbox, 'nomad', settings)).toMatchObject({ exitCode: 0 });
  sandbox.answer('nomad', 'echo "Permission denied"');
  expect(sandbox.half('probe')).toMatchObject({ exitCode: 1 });
});

test('Mesos is told of the agent by its id, and the password is on no command line', () => {
  using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
  const { settings, prepare } = caseOf('mesos');
  prepare(sandbox);
  expect(joinWith(sandbox, 'mesos', settings)).toMatchObject({ exitCode: 0 });
  sandbox.put(PROBE, 'echo 0\n');
  for (const half of ['drain', 'leave']) expect(sandbox.half(half)).toMatchObject({ exitCode: 0 });
  expect(sandbox.posted()).toBe(
    '{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"a-1"}}}' +
      '{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"a-1"}}}' +
      '{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"a-1"}}}',
  );
  expect(sandbox.read('etc/spillway/mesos.curl')).toBe(String.raw`user = "ops:p\"w\\d"` + '\n');
  expect(sandbox.calls().filter((call) => call.includes('ops:'))).toEqual([]);
});

test('the token of a Kubernetes cluster is on no command line, and the file that had it is gone', () => {
  using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
  const { settings, prepare } = caseOf('kubeadm');
  prepare(sandbox);
  expect(joinWith(sandbox, 'kubeadm', settings)).toMatchObject({ exitCode: 0 });
  expect(sandbox.calls().filter((call) => call.includes('abcdef'))).toEqual([]);
  expect(sandbox.tree().filter((line) => line.includes('abcdef'))).toEqual([]);
  expect(sandbox.joined()).toContain('token: "abcdef.0123456789abcdef"\n    caCertHashes: ["sha256:');
});

test.each([
  [0, 0],
  [1, 75],
  [2, 0],
  [4, 1],
  [6, 1],
])('a run of Puppet that ends with %i makes the join end with %i', (code, expected) => {
  using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
  const { settings, prepare } = caseOf('puppet');
  prepare(sandbox);
  sandbox.give('puppet', `exit ${code}`, 'packaged');
  expect(joinWith(sandbox, 'puppet', settings)).toMatchObject({ exitCode: expected });
});

test('without root a recipe goes on by sudo, with its settings', () => {
  using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
  const { settings, prepare } = caseOf('docker');
  prepare(sandbox);
  sandbox.give('id', 'echo "${ROOT_ID:-1000}"');
  sandbox.give('sudo', 'shift 2; ROOT_ID=0 exec "$@"');
  const outcome = joinWith(sandbox, 'docker', { ...settings, DOCKER_DAEMON_JSON: WILD });
  expect(outcome).toMatchObject({ exitCode: 0 });
  expect(sandbox.calls()[0]).toBe('sudo [-n] [-E] [sh] [./recipe.sh]');
  expect(sandbox.read('etc/docker/daemon.json')).toBe(`${WILD}\n`);
});

test('a secret may lie in a file of the machine, which is waited for', () => {
  using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
  const { settings, prepare } = caseOf('k3s');
  prepare(sandbox);
  const { K3S_TOKEN = '', ...rest } = settings;
  const withFile = { ...rest, K3S_TOKEN_FILE: '/etc/token' };
  expect(joinWith(sandbox, 'k3s', withFile)).toMatchObject({
    exitCode: 75,
    output: expect.stringContaining('K3S_TOKEN_FILE names /etc/token, which is not there yet'),
  });
  sandbox.put('etc/token', `${K3S_TOKEN}\n`);
  expect(joinWith(sandbox, 'k3s', withFile)).toMatchObject({ exitCode: 0 });
  expect(sandbox.read('etc/spillway/k3s-token')).toBe(`${K3S_TOKEN}\n`);
});

test('a service is started anew when what it reads has changed, also when the run before was cut in between', () => {
  using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
  const { prepare } = caseOf('docker');
  prepare(sandbox);
  const restarts = (text: string) => {
    expect(joinWith(sandbox, 'docker', { DOCKER_DAEMON_JSON: text })).toMatchObject({ exitCode: 0 });
    return sandbox.calls().filter((call) => call === 'systemctl [restart] [docker.service]').length;
  };
  expect([restarts('{}'), restarts('{}')]).toEqual([1, 0]);
  sandbox.give('systemctl', 'case $1 in is-active) ;; daemon-reload) exit 9 ;; esac');
  expect(joinWith(sandbox, 'docker', { DOCKER_DAEMON_JSON: '{ }' })).toMatchObject({ exitCode: 9 });
  sandbox.calls();
  sandbox.give('systemctl', '');
  expect([restarts('{ }'), restarts('{ }')]).toEqual([1, 0]);
});

test('what is fetched is not used when its checksum is another one', () => {
  using sandbox = new Sandbox(SHELLS[0]?.[1] ?? []);
  const { settings, prepare } = caseOf('nomad');
  prepare(sandbox);
  sandbox.serve(`${DOWNLOAD} and a little more`);
  const outcome = joinWith(sandbox, 'nomad', settings);
  expect(outcome).toMatchObject({ exitCode: 1, output: expect.stringContaining('has not the checksum') });
  expect(sandbox.has('usr/local/bin/nomad')).toBe(false);
});
