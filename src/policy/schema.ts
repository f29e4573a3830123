/** The policy as users write it: every key, its unit, its default and what it means. `docs/policy-schema.json` is made from this. */
import { z } from 'zod';
import { DAY_MS, MINUTE_MS, SECOND_MS } from '../model/time.ts';
import { RECIPE_SHELLS } from '../model/policy.ts';
import { drainSchema } from './drain-schema.ts';
import {
  EMPTY_SECTION,
  LIST_MAX,
  MACHINES_MAX,
  choice,
  count,
  countRange,
  duration,
  flag,
  percent,
  sizeRange,
  text,
  textMap,
  usd,
  wholeGib,
} from './fields.ts';
import { demandSchema } from './demand-schema.ts';
import { sshSchema } from './ssh-schema.ts';
import {
  COMMAND,
  FAMILY,
  FILE_PATH,
  IMAGE,
  INSTANCE_PROFILE,
  LABEL_NAME,
  LABEL_VALUE,
  NAME,
  RECIPE_FILE,
  REGION,
  SECURITY_GROUP,
  SUBNET,
  TYPE_GLOB,
  VARIABLE_NAME,
  VARIABLE_VALUE,
} from './rules.ts';

/** Enough for a first workload, too few for an expensive mistake. */
export const LIMITS_MAX_DEFAULT = 10;

/** A recipe is some scripts; whoever needs more brings an archive, or an image. */
const RECIPE_FILES_MAX = 20;

const limitsSchema = z.strictObject({
  min: count({ min: 0, max: MACHINES_MAX }, { description: 'Machines kept although nothing needs them.' }).prefault(0),
  max: count({ min: 0, max: MACHINES_MAX }, { description: 'Most machines at a time.' }).prefault(LIMITS_MAX_DEFAULT),
  vcpus: count(
    { min: 1, max: 1_000_000 },
    { description: 'Most vCPUs at a time, all machines together. Default: no such limit.' },
  )
    .nullable()
    .prefault(null),
  launchesPerHour: count(
    { min: 1, max: MACHINES_MAX },
    { description: 'Most machines launched within any hour.' },
  ).prefault(60),
  maxScaleUp: count({ min: 1, max: MACHINES_MAX }, { description: 'Most machines that one plan adds.' }).prefault(10),
  maxScaleDown: count(
    { min: 1, max: MACHINES_MAX },
    { description: 'Most machines that one plan starts to drain.' },
  ).prefault(5),
});

const instancesSchema = z.strictObject({
  cpu: countRange(
    { min: 1, max: 4096 },
    { description: 'vCPUs of an instance type. Default: any.', examples: ['4..32'] },
  )
    .nullable()
    .prefault(null),
  memory: sizeRange({ description: 'Memory of an instance type. Default: any.', examples: ['8GiB..128GiB'] })
    .nullable()
    .prefault(null),
  memoryPerCpu: sizeRange({ description: 'Memory per vCPU. Default: any.', examples: ['2GiB..8GiB'] })
    .nullable()
    .prefault(null),
  families: z
    .array(text(FAMILY, { description: 'A letter (c = c5, c6a, c7i ...) or a family (c6a).', examples: ['c'] }))
    .max(LIST_MAX)
    .prefault([])
    .meta({ description: 'Families that may be launched. Default: all.' }),
  exclude: z
    .array(text(TYPE_GLOB, { description: 'A type or a pattern with * and ?.', examples: ['t*'] }))
    .max(LIST_MAX)
    .prefault([])
    .meta({ description: 'Types that are never launched, e.g. t* or "*.metal".' }),
  architectures: z
    .array(choice(['x86_64', 'arm64'], { description: 'A processor architecture.' }))
    .min(1)
    .max(2)
    .optional()
    .meta({ description: 'Architectures that may be launched; each needs an image. Default: those that have one.' }),
});

const burstSchema = z.strictObject({
  region: text(REGION, { description: 'The AWS region.', examples: ['eu-central-1'] }),
  subnets: z
    .array(text(SUBNET, { description: 'A subnet id.' }))
    .min(1)
    .max(LIST_MAX)
    .meta({
      description: 'Subnets that machines may be launched in, best in several zones.',
      examples: [['subnet-0a1b2c3d4e5f60718']],
    }),
  securityGroups: z
    .array(text(SECURITY_GROUP, { description: 'A security group id.' }))
    .max(16)
    .prefault([])
    .meta({ description: "Security groups of the machines. Default: the VPC's default group." }),
  image: z
    .strictObject({
      x86_64: text(IMAGE, { description: 'Image for x86_64 machines.' }).optional(),
      arm64: text(IMAGE, { description: 'Image for arm64 machines.' }).optional(),
    })
    .meta({
      minProperties: 1,
      description: 'The AMI per architecture; at least one.',
      examples: [{ x86_64: 'ami-0a1b2c3d4e5f60718' }],
    }),
  instanceProfile: text(INSTANCE_PROFILE, { description: 'Instance profile of the machines. Default: none.' })
    .nullable()
    .prefault(null),
  volumeSize: wholeGib({ min: 1, max: 64 * 1024 }, { description: 'Root volume in whole GiB.' }).prefault('8GiB'),
  instances: instancesSchema.prefault({}).meta({ description: 'Which instance types may be launched.' }),
  market: z
    .strictObject({
      spot: percent({ min: 0, max: 1 }, { description: 'Share of machines above onDemandBase that is spot.' }).prefault(
        '0%',
      ),
      onDemandBase: count(
        { min: 0, max: MACHINES_MAX },
        { description: 'So many machines are on-demand before the first spot one.' },
      ).prefault(0),
    })
    .prefault({})
    .meta({ description: 'Spot and on-demand.' }),
  limits: limitsSchema.prefault({}).meta({ description: 'What is never exceeded, whatever the demand.' }),
  budget: z
    .strictObject({
      hourly: usd({
        description:
          'Most that all live machines of this workload may cost per hour, by their prices at launch; null = no limit.',
        examples: [40],
      }).nullable(),
      currency: choice(['USD'], { description: "AWS's price lists are in US dollars." }).prefault('USD'),
    })
    .prefault(EMPTY_SECTION)
    .meta({ description: 'Checked before a machine is launched.' }),
  license: z
    .strictObject({
      perVcpuHour: usd(
        {
          description: 'In dollars. For Windows 0.046 on most types, burstable ones apart; 0 = a licence of your own.',
          examples: [0.046],
        },
        { orNothing: true },
      ),
    })
    .nullable()
    .prefault(null)
    .meta({
      description:
        'What EC2 adds for the licence of the images to the on-demand price of Linux; with `join.recipe.shell: powershell`. Default: none.',
      examples: [{ perVcpuHour: 0.046 }],
    }),
  warmPool: z
    .strictObject({
      max: count(
        { min: 0, max: MACHINES_MAX },
        { description: 'So many machines are kept stopped at a time; they count for limits when they are started.' },
      ),
      maxAge: duration(
        { min: MINUTE_MS, max: 30 * DAY_MS },
        { description: 'A machine that was stopped for longer is terminated.' },
      ).prefault('24h'),
    })
    .nullable()
    .prefault(null)
    .meta({
      description:
        'On-demand machines that are not needed are stopped instead of terminated, and started before anything is launched. Default: none.',
      examples: [{ max: 3 }],
    }),
});

const joinSchema = z.strictObject({
  ssh: sshSchema.prefault(EMPTY_SECTION).meta({ description: 'How Spillway reaches a new machine.' }),
  recipe: z
    .strictObject({
      shell: choice(RECIPE_SHELLS, {
        description:
          'What runs script, ready command and hooks. sh: POSIX sh; powershell: Windows PowerShell 5.1, on a machine with Windows.',
      }).prefault('sh'),
      script: text(FILE_PATH, {
        description: 'Script run on the machine before the agent starts; relative paths start at this file.',
      })
        .nullable()
        .prefault(null),
      files: z
        .array(
          text(RECIPE_FILE, { description: 'A file that lies in `recipe/` of the folder that the script runs in.' }),
        )
        .max(RECIPE_FILES_MAX)
        .prefault([])
        .meta({ description: 'Text files that the script needs; relative paths start at this file. Default: none.' }),
      env: textMap(VARIABLE_NAME, VARIABLE_VALUE, { description: 'Environment of the script.' }).prefault({}),
    })
    .nullable()
    .prefault({})
    .meta({ description: 'What prepares a machine.' }),
  ready: z
    .strictObject({
      command: text(COMMAND, {
        description: "Must exit 0 before the machine counts as ready. Default: the agent's first heartbeat is enough.",
      })
        .nullable()
        .prefault(null),
      deadline: duration(
        { min: 10 * SECOND_MS, max: DAY_MS },
        { description: 'From the start of joining to ready; past it the machine is terminated.' },
      ).prefault('5m'),
    })
    .prefault({})
    .meta({ description: 'When a machine counts as ready.' }),
  deadMan: z
    .strictObject({
      after: duration(
        { min: 5 * MINUTE_MS, max: 7 * DAY_MS },
        { description: 'A machine shuts itself down when no report of its agent was accepted for so long.' },
      ).prefault('1h'),
      whileTasksRun: flag({ description: 'true = also while tasks run on it.' }).prefault(false),
    })
    .nullable()
    .prefault({})
    .meta({ description: 'What ends a machine that nobody steers any more; null = nothing.' }),
});

/** One policy file. Unknown keys are refused at every level; a missing section is read as empty. */
export const documentSchema = z.strictObject({
  apiVersion: choice(['spillway.dev/v1'], { description: 'Version of this format.', examples: ['spillway.dev/v1'] }),
  kind: choice(['WorkloadPolicy'], { description: 'What this file is.', examples: ['WorkloadPolicy'] }),
  metadata: z
    .strictObject({
      name: text(NAME, { description: 'Name of the workload; one policy each.', examples: ['transcode'] }),
    })
    .prefault(EMPTY_SECTION)
    .meta({ description: 'What the policy is called.' }),
  spec: z
    .strictObject({
      agents: z
        .strictObject({
          selector: textMap(LABEL_NAME, LABEL_VALUE, {
            description: 'Labels an on-prem agent must have to serve the workload. Default: every agent serves it.',
          }).prefault({}),
          weight: count(
            { min: 1, max: 1000 },
            { description: 'Share of agents that several workloads want: 2 gets twice what 1 gets.' },
          ).prefault(1),
          priority: count(
            { min: -1000, max: 1000 },
            { description: 'Workloads of a higher priority take local agents first, whatever their weight.' },
          ).prefault(0),
        })
        .prefault({})
        .meta({ description: 'The on-prem agents of the workload; they are always filled first.' }),
      demand: demandSchema.prefault({}).meta({
        description:
          'What says how much is needed: at least one of utilization, queue, headroom, schedule; the largest answer wins.',
      }),
      burst: burstSchema.prefault(EMPTY_SECTION).meta({ description: 'How the workload may use AWS.' }),
      join: joinSchema.prefault(EMPTY_SECTION).meta({ description: 'How a new machine becomes an agent.' }),
      drain: drainSchema.prefault({}).meta({ description: 'How a machine that is not needed leaves.' }),
    })
    .prefault(EMPTY_SECTION)
    .meta({ description: 'The policy.' }),
});

/** The document after units and defaults, before names are normalised. */
export type PolicyDocument = z.output<typeof documentSchema>;
