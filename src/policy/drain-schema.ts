/** `spec.drain` as users write it: part of the policy's schema. */
import { z } from 'zod';
import { DRAIN_REASONS, EXTENSIONS_DEFAULT } from '../model/policy.ts';
import { DAY_MS, MINUTE_MS } from '../model/time.ts';
import { LIST_MAX, MACHINES_MAX, choice, count, countOrShare, duration, durationOr, field, text } from './fields.ts';
import { COMMAND } from './rules.ts';
import { CRON_PATTERN, parseCron, parseTimezone } from './schedule.ts';

const hook = (description: string) => text(COMMAND, { description }).nullable().prefault(null);

export const drainSchema = z.strictObject({
  scaleDownUnneededTime: durationOr(
    'auto',
    { min: 0, max: 7 * DAY_MS },
    {
      description:
        'A machine without a task for this long is drained when nothing needs it. auto = for as long as a new start would be billed before its first task, at most 5m, and through the minute that EC2 bills anyway.',
      examples: ['5m'],
    },
  ).prefault('auto'),
  minimumLife: duration(
    { min: 0, max: 7 * DAY_MS },
    { description: 'No machine is let go sooner after its start, whether or not anything needs it.' },
  ).prefault('0s'),
  churnPause: duration(
    { min: 0, max: DAY_MS },
    {
      description:
        'Scale-in pauses for this long after machines that were let go were replaced at once, three times in an hour. 0s = never.',
    },
  ).prefault('15m'),
  consolidation: choice(['whenEmpty', 'whenEmptyOrUnderutilized'], {
    description:
      'When machines go: whenEmpty = without work; whenEmptyOrUnderutilized = also those at most half used take no more work, when what runs on them has room on others that work, and go when it is done. Needs onDeadline: wait.',
  }).prefault('whenEmpty'),
  budgets: z
    .array(
      z.strictObject({
        machines: countOrShare(
          { min: 0, max: MACHINES_MAX },
          {
            description:
              'Most machines that go at a time: a number, or a share of those that work or go, rounded up. 0 = none goes.',
            examples: ['10%'],
          },
        ),
        reasons: z
          .array(
            choice(DRAIN_REASONS, {
              description: 'Why machines go: empty = without work, underutilized = drain.consolidation.',
            }),
          )
          .min(1)
          .max(DRAIN_REASONS.length)
          .prefault([...DRAIN_REASONS])
          .meta({ description: 'What the budget is for. Default: all of them.' }),
        schedule: field(
          parseCron,
          { type: 'string', pattern: CRON_PATTERN.source },
          {
            description:
              'The budget counts only from these moments on, for duration: minute, hour, day of month, month, day of week. Default: it always counts.',
            examples: ['0 8 * * 1-5'],
          },
        )
          .nullable()
          .prefault(null),
        duration: duration(
          { min: MINUTE_MS, max: 31 * DAY_MS },
          { description: 'With schedule: how long the budget counts, in time that passes.', examples: ['10h'] },
        )
          .nullable()
          .prefault(null),
        timezone: field(
          parseTimezone,
          { type: 'string' },
          {
            description: 'With schedule: IANA time zone that it is read in. Default: UTC.',
            examples: ['Europe/Berlin'],
          },
        )
          .nullable()
          .prefault(null),
      }),
    )
    .max(LIST_MAX)
    .prefault([])
    .meta({ description: 'How many machines go at a time; the tightest budget counts. Default: no budget.' }),
  cooldown: z
    .strictObject({
      scaleUp: duration({ min: 0, max: DAY_MS }, { description: 'Pause between two scale-outs.' }).prefault('0s'),
      scaleDown: duration({ min: 0, max: DAY_MS }, { description: 'Pause between two scale-ins.' }).prefault('2m'),
    })
    .prefault({})
    .meta({ description: 'Pauses between decisions.' }),
  deadline: duration(
    { min: MINUTE_MS / 6, max: 7 * DAY_MS },
    { description: 'How long running work may take to finish; then onDeadline decides.' },
  ).prefault('30m'),
  onDeadline: choice(['wait', 'extend', 'terminate'], {
    description:
      'wait = keep waiting and say so; extend = so many extensions of the same length are expected, then alert and keep waiting; terminate = end the machine although work runs on it.',
  }).prefault('wait'),
  extensions: count(
    { min: 1, max: 1000 },
    { description: `With onDeadline: extend: so many are expected before the alert. Default: ${EXTENSIONS_DEFAULT}.` },
  )
    .nullable()
    .prefault(null),
  oneAtATime: z.boolean().prefault(false).meta({
    description:
      'Of a workload whose machines belong together, such as a database: no machine is touched while another one goes. Machines that EC2 takes back do not wait.',
  }),
  hooks: z
    .strictObject({
      beforeDrain: hook('Run on the machine before it is drained.'),
      beforeTerminate: hook('Run on the machine when its work is gone, before it is terminated.'),
      checkpoint: hook('Run on the machine as soon as EC2 says that it takes it back; ended when it does.'),
      health: hook(
        'Run on the machine before it is touched, again and again until it passes: nothing of it goes before. For workloads whose machines belong together.',
      ),
    })
    .nullable()
    .prefault({})
    .meta({ description: 'Commands run on the machine over SSH.' }),
});
