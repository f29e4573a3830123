import { z } from 'zod';
import { COST_GROUPINGS } from '../../cost/report.ts';
import { isId } from '../../model/ids.ts';
import { MACHINE_STATES } from '../../model/machine.ts';
import { DAY_MS, MINUTE_MS, SECOND_MS } from '../../model/time.ts';
import { NAME_KINDS } from '../../ports/names.ts';
import { PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX } from '../../ports/reports.ts';

/** Unknown keys are refused everywhere: a misspelt filter that is ignored would show everything. */

export const name = z.string().min(1).max(253);
const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max));
const flag = z.enum(['true', 'false']).transform((text) => text === 'true');

const page = {
  limit: wholeNumber(1, PAGE_LIMIT_MAX).default(PAGE_LIMIT_DEFAULT),
  cursor: z.string().max(200).nullable().default(null),
};

export const machineListQuery = z.strictObject({
  ...page,
  workload: name.nullable().default(null),
  state: z.enum(MACHINE_STATES).nullable().default(null),
  all: flag.default(false),
});

export const taskListQuery = z.strictObject({
  ...page,
  workload: name.nullable().default(null),
  state: z.enum(['pending', 'leased', 'running', 'done', 'failed', 'cancelled']).nullable().default(null),
});

export const agentListQuery = z.strictObject(page);

export const planQuery = z.strictObject({ workload: name.nullable().default(null) });

export const storedPlanQuery = z.strictObject({ input: flag.default(false) });

export const logQuery = z.strictObject({
  attempt: wholeNumber(1, 1_000_000).nullable().default(null),
  offset: wholeNumber(0, Number.MAX_SAFE_INTEGER).default(0),
});

export const nameKind = z.enum(NAME_KINDS);
export const namesQuery = z.strictObject({ prefix: z.string().max(253).default('') });

export const machineLogQuery = z.strictObject({ after: wholeNumber(0, Number.MAX_SAFE_INTEGER).default(0) });

export const costQuery = z
  .strictObject({
    from: z.iso.datetime({ offset: true }),
    to: z.iso.datetime({ offset: true }),
    by: z.enum(COST_GROUPINGS).default('workload'),
  })
  .refine(({ from, to }) => Date.parse(from) < Date.parse(to), { path: ['to'], message: 'must be later than from' });

export const healthQuery = z.object({ verbose: z.string().optional() });

export const machineId = z
  .string()
  .refine((text) => isId('mc', text), 'must be the whole id of a machine, mc- and twelve characters');
export const taskId = z
  .string()
  .refine((text) => isId('tk', text), 'must be the whole id of a task, tk- and twelve characters');

export const planId = z
  .string()
  .refine((text) => isId('pl', text), 'must be latest or the whole id of a plan, pl- and twelve characters');
/** Id or name. */
export const agentName = z.string().min(1).max(100);

/** Who orders something, and why. */
const orderer = {
  by: z.string().min(1).max(100).default('operator'),
  reason: z.string().min(1).max(500).nullable().default(null),
};

/** `drain`: whoever cordons it waits for its work; told in its history. */
export const agentCordon = z.strictObject({ ...orderer, cordoned: z.boolean(), drain: z.boolean().default(false) });
export const agentRemoval = z.strictObject({ ...orderer, force: z.boolean().default(false) });

/** Many times what the largest machine has. */
export const GPUS_MAX = 1024;
/** A year. */
export const RUN_TIME_MAX_S = (365 * DAY_MS) / SECOND_MS;

export const taskSubmission = z.strictObject({
  workload: name,
  // ARG_MAX would allow more; a task's command is read by people too.
  command: z
    .array(
      z
        .string()
        .max(65_536)
        .refine((word) => !word.includes('\0'), 'must not hold NUL'),
    )
    .min(1)
    .max(10_000),
  shape: z
    .strictObject({ cpuMilli: z.int().min(1).max(16_384_000), memoryMib: z.int().min(0).max(1_073_741_824) })
    .nullable()
    .default(null),
  gpus: z.int().min(0).max(GPUS_MAX).nullable().default(null),
  arch: z.enum(['x86_64', 'arm64']).nullable().default(null),
  localOnly: z.boolean().default(false),
  spotOk: z.boolean().default(true),
  runTimeS: z.int().min(1).max(RUN_TIME_MAX_S).nullable().default(null),
  count: z.int().min(1).max(10_000).default(1),
});

/** A hundred years: whoever means for good leaves it out. */
export const PROTECTION_MAX_MS = 36_500 * DAY_MS;

export const machineOrder = z.strictObject({
  ...orderer,
  forMs: z.int().min(1).max(PROTECTION_MAX_MS).nullable().default(null),
  force: z.boolean().default(false),
});

export const enrolmentRequest = z.strictObject({
  ...orderer,
  installs: agentName.nullable().default(null),
  labels: z
    .record(z.string().regex(/^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/), z.string().max(255))
    .refine((labels) => Object.keys(labels).length <= 64, 'at most 64 labels')
    .default({}),
  ttlMs: z
    .int()
    .min(MINUTE_MS)
    .max(7 * DAY_MS),
});
