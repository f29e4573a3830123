/** From the words of the file to the words of the model. */
import type { BastionPolicy, DrainBudget, DrainHooks, ScheduleWindow, WorkloadPolicy } from '../model/policy.ts';
import type { Architecture } from '../model/offering.ts';
import { resolveFrom } from './cross-checks.ts';
import type { PolicyDocument } from './schema.ts';
import type { BastionDocument } from './ssh-schema.ts';

type DemandDocument = PolicyDocument['spec']['demand'];
type BurstDocument = PolicyDocument['spec']['burst'];
type JoinDocument = PolicyDocument['spec']['join'];
type DrainDocument = PolicyDocument['spec']['drain'];

/** The deeply frozen policy. `file` is where relative paths start. */
export function normalizePolicy(document: PolicyDocument, file: string): WorkloadPolicy {
  const { name } = document.metadata;
  const { agents, demand, burst, join, drain } = document.spec;
  return deepFreeze({
    name,
    agents: agentsOf(agents),
    demand: demandOf(demand),
    burst: burstOf(burst),
    join: joinOf(join, file),
    drain: drainOf(drain),
  });
}

/** Left out where it is the default, so that these keys change the hash of policies that use them only. */
function agentsOf({ selector, weight, priority }: PolicyDocument['spec']['agents']): WorkloadPolicy['agents'] {
  return {
    selector: { ...selector },
    ...(weight === 1 ? {} : { weight }),
    ...(priority === 0 ? {} : { priority }),
  };
}

function demandOf(demand: DemandDocument): WorkloadPolicy['demand'] {
  const { utilization, queue, headroom, schedule, forecast } = demand;
  return {
    utilization:
      utilization === null
        ? null
        : { metric: utilization.metric, target: utilization.target, windowMs: utilization.window },
    queue:
      queue === null
        ? null
        : {
            source: queue.source,
            task: { cpuMilli: queue.task.cpu, memoryMib: queue.task.memory, gpus: queue.task.gpus },
            maxWaitMs: queue.maxWait,
          },
    headroom,
    // Left out when there is none: the key changes the hash of policies that use it only.
    ...(schedule.length === 0 ? {} : { schedule: schedule.map(windowOf) }),
    ...(forecast === null
      ? {}
      : { forecast: { mode: forecast.mode, leadTimeMs: forecast.leadTime, minAccuracy: forecast.minAccuracy } }),
    freshnessMs: demand.freshness,
  };
}

function windowOf(window: DemandDocument['schedule'][number]): ScheduleWindow {
  const { cron, timezone, duration, leadTime, min, max } = window;
  return { cron, timezone, durationMs: duration, leadTimeMs: leadTime, min, max };
}

function burstOf(burst: BurstDocument): WorkloadPolicy['burst'] {
  const { instances, limits } = burst;
  return {
    region: burst.region,
    // A subnet written twice would be two offerings of the same thing.
    subnets: [...new Set(burst.subnets)],
    securityGroups: [...new Set(burst.securityGroups)],
    image: imagesOf(burst.image, instances.architectures ?? null),
    instanceProfile: burst.instanceProfile,
    volumeGib: burst.volumeSize,
    instances: {
      cpu: instances.cpu,
      memoryMib: instances.memory,
      memoryMibPerCpu: instances.memoryPerCpu,
      families: instances.families,
      exclude: instances.exclude,
    },
    market: burst.market,
    limits,
    budget: { hourlyUsd: burst.budget.hourly },
    ...(burst.license === null ? {} : { license: { usdPerVcpuHour: burst.license.perVcpuHour } }),
    ...(burst.warmPool === null || burst.warmPool.max === 0
      ? {}
      : { warmPool: { max: burst.warmPool.max, maxAgeMs: burst.warmPool.maxAge } }),
  };
}

/** Only architectures with an image are launched, so that the wanted architectures need no key of their own. */
function imagesOf(
  image: BurstDocument['image'],
  wanted: readonly Architecture[] | null,
): WorkloadPolicy['burst']['image'] {
  const images: Partial<Record<Architecture, string>> = {};
  for (const architecture of ['x86_64', 'arm64'] as const) {
    const id = image[architecture];
    if (id !== undefined && (wanted === null || wanted.includes(architecture))) images[architecture] = id;
  }
  return images;
}

function joinOf(join: JoinDocument, file: string): WorkloadPolicy['join'] {
  const { ssh, recipe, ready, deadMan } = join;
  return {
    ssh: sshOf(ssh, file),
    recipe: recipeOf(recipe, file),
    ready: { command: ready.command, deadlineMs: ready.deadline },
    deadMan: deadMan === null ? null : { afterMs: deadMan.after, whileTasksRun: deadMan.whileTasksRun },
  };
}

function recipeOf(recipe: JoinDocument['recipe'], file: string): WorkloadPolicy['join']['recipe'] {
  if (recipe === null) return { script: null, env: {} };
  const { shell, script, files, env } = recipe;
  return {
    // As with most of what follows: left out where it is the default, so that policies without it keep their hash.
    ...(shell === 'sh' ? {} : { shell }),
    script: script === null ? null : resolveFrom(file, script),
    // Left out where there are none, so that policies without them keep their hash.
    ...(files.length === 0 ? {} : { files: files.map((written) => resolveFrom(file, written)) }),
    env: { ...env },
  };
}

/** What most policies leave out is left out here, so that they keep their hash. */
function sshOf(ssh: JoinDocument['ssh'], file: string): WorkloadPolicy['join']['ssh'] {
  const { identity, hostKey, transport, bastion } = ssh;
  const trustFile = { injected: null, console: null, known: ssh.knownHosts, ca: ssh.hostCa }[hostKey];
  return {
    user: ssh.user,
    port: ssh.port,
    identityFile: identity.file === undefined ? null : resolveFrom(file, identity.file),
    ...(typeof identity.agent === 'string' ? { agentSocket: resolveFrom(file, identity.agent) } : {}),
    ...(identity.instanceConnect === true ? { instanceConnect: true as const } : {}),
    hostKey,
    ...(trustFile === null ? {} : { trustFile: resolveFrom(file, trustFile) }),
    ...(transport === 'ssh2' ? {} : { transport }),
    ...(bastion.length === 0 ? {} : { bastions: bastion.map((hop) => bastionOf(hop, file)) }),
  };
}

function bastionOf({ identityFile, hostKey, ...hop }: BastionDocument, file: string): BastionPolicy {
  return {
    ...hop,
    ...(identityFile === null ? {} : { identityFile: resolveFrom(file, identityFile) }),
    hostKey: hostKey.startsWith('ssh-ed25519 ') ? { key: hostKey } : { knownHostsFile: resolveFrom(file, hostKey) },
  };
}

function drainOf(drain: DrainDocument): WorkloadPolicy['drain'] {
  return {
    scaleDownUnneededMs: drain.scaleDownUnneededTime,
    minimumLifeMs: drain.minimumLife,
    churnPauseMs: drain.churnPause,
    consolidation: drain.consolidation,
    budgets: drain.budgets.map(budgetOf),
    cooldown: { scaleUpMs: drain.cooldown.scaleUp, scaleDownMs: drain.cooldown.scaleDown },
    deadlineMs: drain.deadline,
    onDeadline: drain.onDeadline,
    // What few policies have is left out, so that the others keep their hash.
    ...(drain.extensions === null ? {} : { extensions: drain.extensions }),
    ...(drain.oneAtATime ? { oneAtATime: true } : {}),
    hooks: hooksOf(drain.hooks),
  };
}

function budgetOf({ machines, reasons, schedule, ...window }: DrainDocument['budgets'][number]): DrainBudget {
  const { duration, timezone } = window;
  if (schedule === null || duration === null) return { machines, reasons };
  return { machines, reasons, window: { cron: schedule, timezone: timezone ?? 'UTC', durationMs: duration } };
}

function hooksOf(hooks: DrainDocument['hooks']): DrainHooks {
  const { beforeDrain = null, beforeTerminate = null, checkpoint = null, health = null } = hooks ?? {};
  return {
    beforeDrain,
    beforeTerminate,
    ...(checkpoint === null ? {} : { checkpoint }),
    ...(health === null ? {} : { health }),
  };
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const child of Object.values(value)) deepFreeze(child);
  return Object.freeze(value);
}
