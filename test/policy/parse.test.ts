import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import { policyHash } from '../../src/policy/hash.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { POLICY_TEXT, edited } from './documents.ts';

function parse(text: string): WorkloadPolicy {
  const result = parsePolicy(text, { file: '/policies/transcode.yaml', checkFiles: false });
  if (!result.ok) throw new Error(JSON.stringify(result.issues, null, 2));
  return result.policy;
}

/** The policy of design section 6, without the keys of later issues. */
const DESIGN = `
apiVersion: spillway.dev/v1
kind: WorkloadPolicy
metadata: { name: transcode }
spec:
  agents: { selector: { pool: media }, weight: 3, priority: -1 } # the on-prem agents that serve it
  demand:                                          # several signals: the largest answer wins
    utilization: { metric: cpu, target: 75%, window: 2m }
    queue: { source: bullmq, name: transcode, task: { cpu: 2, memory: 4GiB, gpus: 1 }, maxWait: 90s }
    headroom: { tasks: 2 }
    freshness: 30s
  burst:
    region: eu-central-1
    subnets: [subnet-0a1b, subnet-0c2d]
    image: { x86_64: ami-0123 }
    instances: { cpu: 4..32, memoryPerCpu: 2GiB..8GiB, families: [c, m], exclude: [t*] }
    market: { spot: 80%, onDemandBase: 1 }
    limits: { min: 0, max: 40, vcpus: 400, launchesPerHour: 60, maxScaleUp: 10, maxScaleDown: 5 }
    budget: { hourly: 40, currency: USD }
  join:
    ssh: { user: ubuntu, port: 22, identity: { file: /etc/spillway/id_ed25519 }, bastion: null, hostKey: injected }
    recipe: { script: join.sh, env: { POOL: media } }
    ready: { command: systemctl is-active render-agent, deadline: 5m }
  drain:
    scaleDownUnneededTime: 5m
    minimumLife: 2m
    churnPause: 5m
    consolidation: whenEmptyOrUnderutilized
    budgets: [{ machines: 10% }, { machines: 3, reasons: [empty] }]
    cooldown: { scaleUp: 0s, scaleDown: 2m }
    deadline: 30m
    onDeadline: wait
    hooks: { beforeDrain: null, beforeTerminate: nodetool decommission }
`;

describe('a good policy', () => {
  test('comes out with every unit normalised', () => {
    expect(parse(DESIGN)).toEqual({
      name: 'transcode',
      agents: { selector: { pool: 'media' }, weight: 3, priority: -1 },
      demand: {
        utilization: { metric: 'cpu', target: 0.75, windowMs: 120_000 },
        queue: {
          source: 'bullmq',
          task: { cpuMilli: 2000, memoryMib: 4096, gpus: 1 },
          maxWaitMs: 90_000,
        },
        headroom: { tasks: 2 },
        freshnessMs: 30_000,
      },
      burst: {
        region: 'eu-central-1',
        subnets: ['subnet-0a1b', 'subnet-0c2d'],
        securityGroups: [],
        image: { x86_64: 'ami-0123' },
        instanceProfile: null,
        volumeGib: 8,
        instances: {
          cpu: { min: 4, max: 32 },
          memoryMib: null,
          memoryMibPerCpu: { min: 2048, max: 8192 },
          families: ['c', 'm'],
          exclude: ['t*'],
        },
        market: { spot: 0.8, onDemandBase: 1 },
        limits: { min: 0, max: 40, vcpus: 400, launchesPerHour: 60, maxScaleUp: 10, maxScaleDown: 5 },
        budget: { hourlyUsd: 40 },
      },
      join: {
        ssh: { user: 'ubuntu', port: 22, identityFile: '/etc/spillway/id_ed25519', hostKey: 'injected' },
        recipe: { script: '/policies/join.sh', env: { POOL: 'media' } },
        ready: { command: 'systemctl is-active render-agent', deadlineMs: 300_000 },
        deadMan: { afterMs: 3_600_000, whileTasksRun: false },
      },
      drain: {
        scaleDownUnneededMs: 300_000,
        minimumLifeMs: 120_000,
        churnPauseMs: 300_000,
        consolidation: 'whenEmptyOrUnderutilized',
        budgets: [
          { machines: { kind: 'share', share: 0.1 }, reasons: ['empty', 'underutilized'] },
          { machines: { kind: 'count', count: 3 }, reasons: ['empty'] },
        ],
        cooldown: { scaleUpMs: 0, scaleDownMs: 120_000 },
        deadlineMs: 1_800_000,
        onDeadline: 'wait',
        hooks: { beforeDrain: null, beforeTerminate: 'nodetool decommission' },
      },
    });
  });

  test('says how hosts are believed and reached; paths start at its folder', () => {
    const ssh = (text: string) =>
      parse(`{ apiVersion: spillway.dev/v1, kind: WorkloadPolicy, metadata: { name: w }, spec: {
        demand: { queue: {} },
        burst: { region: us-east-1, subnets: [subnet-1], image: { arm64: ami-1 }, budget: { hourly: null } },
        join: { ssh: { ${text} } } } }`).join.ssh;
    const common = { user: 'ubuntu', port: 22, identityFile: null } as const;
    expect(ssh('identity: { agent: true }, hostKey: console')).toEqual({ ...common, hostKey: 'console' });
    expect(ssh('identity: { instanceConnect: true, agent: false }')).toEqual({
      ...common,
      instanceConnect: true,
      hostKey: 'injected',
    });
    expect(ssh('identity: { agent: run/agent }, hostKey: ca, hostCa: ca.pub, transport: openssh')).toEqual({
      ...common,
      agentSocket: '/policies/run/agent',
      hostKey: 'ca',
      trustFile: '/policies/ca.pub',
      transport: 'openssh',
    });
    const key = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}`;
    const hops = `[{ host: a.example, user: ops, hostKey: ${key} }, { host: b, port: 2222, user: ops, hostKey: known, identity: { file: id } }]`;
    expect(ssh(`identity: { agent: true }, hostKey: known, knownHosts: known_hosts, bastion: ${hops}`)).toEqual({
      ...common,
      hostKey: 'known',
      trustFile: '/policies/known_hosts',
      bastions: [
        { host: 'a.example', port: 22, user: 'ops', hostKey: { key } },
        {
          host: 'b',
          port: 2222,
          user: 'ops',
          identityFile: '/policies/id',
          hostKey: { knownHostsFile: '/policies/known' },
        },
      ],
    });
  });

  test('gets a default for every key that is left out', () => {
    const policy = parse(`{ apiVersion: spillway.dev/v1, kind: WorkloadPolicy, metadata: { name: w }, spec: {
      demand: { queue: {}, utilization: {} },
      burst: { region: us-east-1, subnets: [subnet-1], image: { arm64: ami-1 }, budget: { hourly: null } },
      join: { ssh: { identity: { file: key } } } } }`);
    expect(policy).toEqual({
      name: 'w',
      agents: { selector: {} },
      demand: {
        utilization: { metric: 'cpu', target: 0.75, windowMs: 120_000 },
        queue: { source: 'bullmq', task: { cpuMilli: 1000, memoryMib: 1024, gpus: 0 }, maxWaitMs: 90_000 },
        headroom: null,
        freshnessMs: 30_000,
      },
      burst: {
        region: 'us-east-1',
        subnets: ['subnet-1'],
        securityGroups: [],
        image: { arm64: 'ami-1' },
        instanceProfile: null,
        volumeGib: 8,
        instances: { cpu: null, memoryMib: null, memoryMibPerCpu: null, families: [], exclude: [] },
        market: { spot: 0, onDemandBase: 0 },
        limits: { min: 0, max: 10, vcpus: null, launchesPerHour: 60, maxScaleUp: 10, maxScaleDown: 5 },
        budget: { hourlyUsd: null },
      },
      join: {
        ssh: { user: 'ubuntu', port: 22, identityFile: '/policies/key', hostKey: 'injected' },
        recipe: { script: null, env: {} },
        ready: { command: null, deadlineMs: 300_000 },
        deadMan: { afterMs: 3_600_000, whileTasksRun: false },
      },
      drain: {
        scaleDownUnneededMs: null,
        minimumLifeMs: 0,
        churnPauseMs: 900_000,
        consolidation: 'whenEmpty',
        budgets: [],
        cooldown: { scaleUpMs: 0, scaleDownMs: 120_000 },
        deadlineMs: 1_800_000,
        onDeadline: 'wait',
        hooks: { beforeDrain: null, beforeTerminate: null },
      },
    });
  });

  test.each([
    ['queue: { task', 'utilization: null\n    headroom: null\n    queue: { task'],
    ['  drain: { deadline: 20m }', '  drain: { deadline: 20m, hooks: null }'],
    ['  drain: { deadline: 20m }', '  drain: { deadline: 20m, hooks: { beforeDrain: null, beforeTerminate: null } }'],
    ['user: admin', 'user: admin, bastion: null'],
    ['limits: { min: 1, max: 4 }', 'limits: { min: 1, max: 4, vcpus: null }'],
    ['budget: { hourly: 40 }', 'budget: { hourly: 40, currency: USD }\n    instanceProfile: null'],
    ['    ssh:', '    recipe: null\n    ssh:'],
  ])('takes null as none: %s -> %s', (passage, replacement) => {
    expect(parse(edited(passage, replacement))).toEqual(parse(POLICY_TEXT));
  });

  test('keeps machines stopped for a day unless it says otherwise, and none with max: 0', () => {
    const pool = (text: string) => parse(edited('budget: { hourly: 40 }', `budget: { hourly: 40 }\n    ${text}`)).burst;
    expect(pool('warmPool: { max: 2 }').warmPool).toEqual({ max: 2, maxAgeMs: 86_400_000 });
    expect(pool('warmPool: { max: 2, maxAge: 90m }').warmPool).toEqual({ max: 2, maxAgeMs: 5_400_000 });
    expect(pool('warmPool: { max: 0 }')).toEqual(pool('warmPool: null'));
    expect(pool('warmPool: null')).not.toHaveProperty('warmPool');
  });

  test('launches only the architectures it asks for, by dropping the images of the others', () => {
    const both = '{ x86_64: ami-0123, arm64: ami-4567 }';
    const all = edited('{ x86_64: ami-0123 }', both);
    const one = all.replace(both, `${both}\n    instances: { architectures: [arm64] }`);
    expect(parse(all).burst.image).toEqual({ x86_64: 'ami-0123', arm64: 'ami-4567' });
    expect(parse(one).burst.image).toEqual({ arm64: 'ami-4567' });
  });

  test('counts a subnet that is written twice once', () => {
    expect(parse(edited('[subnet-0a1b]', '[subnet-0a1b, subnet-0c2d, subnet-0a1b]')).burst.subnets).toEqual([
      'subnet-0a1b',
      'subnet-0c2d',
    ]);
  });

  test('may be written in any YAML style, with a byte order mark and Windows line ends', () => {
    const windows = `\uFEFF---\r\n${POLICY_TEXT.replaceAll('\n', '\r\n')}`;
    expect(parse(windows)).toEqual(parse(POLICY_TEXT));
  });

  test('is frozen to its depths', () => {
    const visit = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      expect(Object.isFrozen(value)).toBe(true);
      for (const child of Object.values(value)) visit(child);
    };
    visit(parse(DESIGN));
  });

  test('may leave out what ends machines that nobody steers', () => {
    const deadManOf = (value: string) => parse(edited('  drain: {', `    deadMan: ${value}\n  drain: {`)).join.deadMan;
    expect(deadManOf('null')).toBeNull();
    expect(deadManOf('{ after: 15m, whileTasksRun: true }')).toEqual({ afterMs: 900_000, whileTasksRun: true });
  });

  test('survives JSON unchanged', () => {
    const policy = parse(DESIGN);
    expect(JSON.parse(JSON.stringify(policy))).toEqual(policy);
  });

  test('the sample policy is valid', () => {
    const sample = readFileSync(new URL('../../policies/example.yaml.sample', import.meta.url), 'utf8');
    expect(sample.split('\n')[0]).toBe('# yaml-language-server: $schema=../docs/policy-schema.json');
    expect(parse(sample).name).toBe('transcode');
  });
});

describe('policyHash', () => {
  test('is the same for the same policy in other words and another order', () => {
    const reordered = edited('metadata: { name: transcode }\n', '').replace(
      'spec:',
      'metadata: { name: "transcode" } # moved\nspec:',
    );
    expect(policyHash(parse(reordered.replace('60s', '1m')))).toBe(policyHash(parse(POLICY_TEXT)));
  });

  test('differs when any value differs', () => {
    const base = policyHash(parse(POLICY_TEXT));
    expect(base).toMatch(/^[0-9a-f]{64}$/);
    for (const [passage, replacement] of [
      ['max: 4', 'max: 5'],
      ['hourly: 40', 'hourly: 40.5'],
      ['pool: media', 'pool: other'],
      ['deadline: 20m', 'deadline: 21m'],
    ] as const) {
      expect(policyHash(parse(edited(passage, replacement)))).not.toBe(base);
    }
  });
});
