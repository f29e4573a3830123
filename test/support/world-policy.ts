import type { BurstPolicy, DemandPolicy, DrainPolicy, JoinPolicy, WorkloadPolicy } from '../../src/model/policy.ts';
import type { LoadedPolicy } from '../../src/ports/policies.ts';
import { fingerprint } from '../../src/simulator/listing.ts';
import { aDrainPolicy } from './drain-policy.ts';
import { SIMULATED_IMAGES, SIMULATED_SECURITY_GROUP, SIMULATED_SUBNETS } from '../../src/simulator/world.ts';

export interface PolicyChanges {
  readonly name?: string;
  readonly demand?: Partial<DemandPolicy>;
  readonly burst?: Partial<BurstPolicy>;
  readonly limits?: Partial<BurstPolicy['limits']>;
  readonly ssh?: Partial<JoinPolicy['ssh']>;
  readonly recipe?: Partial<JoinPolicy['recipe']>;
  readonly ready?: Partial<JoinPolicy['ready']>;
  readonly drain?: Partial<DrainPolicy>;
}

/** Tasks of one CPU on c5 machines of the simulated region; machines leave after a minute without work. */
export function worldPolicy(changes: PolicyChanges = {}): WorkloadPolicy {
  return {
    name: changes.name ?? 'render',
    agents: { selector: { pool: 'local' } },
    demand: {
      utilization: null,
      queue: { source: 'bullmq', task: { cpuMilli: 1000, memoryMib: 1024, gpus: 0 }, maxWaitMs: 0 },
      headroom: null,
      freshnessMs: 30_000,
      ...changes.demand,
    },
    burst: {
      region: 'us-east-1',
      subnets: [SIMULATED_SUBNETS.a, SIMULATED_SUBNETS.b],
      securityGroups: [SIMULATED_SECURITY_GROUP],
      image: { x86_64: SIMULATED_IMAGES.x86_64 },
      instanceProfile: null,
      volumeGib: 20,
      instances: { cpu: null, memoryMib: null, memoryMibPerCpu: null, families: ['c5'], exclude: [] },
      market: { spot: 0, onDemandBase: 0 },
      limits: {
        min: 0,
        max: 10,
        vcpus: null,
        launchesPerHour: 1000,
        maxScaleUp: 10,
        maxScaleDown: 10,
        ...changes.limits,
      },
      budget: { hourlyUsd: null },
      ...changes.burst,
    },
    join: {
      ssh: { user: 'ubuntu', port: 22, identityFile: '/nowhere/id_ed25519', hostKey: 'injected', ...changes.ssh },
      recipe: { script: null, env: {}, ...changes.recipe },
      ready: { command: null, deadlineMs: 300_000, ...changes.ready },
    },
    // Lives follow one another at once here: that machines are wanted again is no reason to keep them.
    drain: aDrainPolicy({ scaleDownUnneededMs: 60_000, churnPauseMs: 0, ...changes.drain }),
  };
}

export function loaded(policy: WorkloadPolicy): LoadedPolicy {
  return { policy, hash: fingerprint(policy) };
}
