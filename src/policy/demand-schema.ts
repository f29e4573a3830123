/** What says how much is needed: the part of the policy that the signals have. */
import { z } from 'zod';
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../model/time.ts';
import { LIST_MAX, MACHINES_MAX, choice, count, cpu, duration, field, percent, size, text } from './fields.ts';
import { QUEUE_NAME } from './rules.ts';
import { CRON_PATTERN, parseCron, parseTimezone } from './schedule.ts';

const MEMORY = { min: 1, max: 64 * 1024 * 1024 };

const taskSchema = z.strictObject({
  cpu: cpu({ description: 'Cores of one task: 2, 0.5 or 500m.', examples: [2] }).prefault(1),
  memory: size(MEMORY, { description: 'Memory of one task.', examples: ['4GiB'] }).prefault('1GiB'),
  gpus: count(
    { min: 0, max: 1024 },
    { description: 'GPUs of one task, which it has to itself.', examples: [1] },
  ).prefault(0),
});

const windowSchema = z.strictObject({
  cron: field(
    parseCron,
    { type: 'string', pattern: CRON_PATTERN.source },
    {
      description: 'When the window opens: minute, hour, day of month, month, day of week.',
      examples: ['0 8 * * 1-5'],
    },
  ),
  duration: duration(
    { min: MINUTE_MS, max: 31 * DAY_MS },
    { description: 'How long it stays open, in time that passes.', examples: ['10h'] },
  ),
  timezone: field(
    parseTimezone,
    { type: 'string' },
    { description: 'IANA time zone that cron is read in.', examples: ['Europe/Berlin'] },
  ).prefault('UTC'),
  min: count(
    { min: 0, max: MACHINES_MAX },
    { description: 'Machines kept while it is open, although nothing needs them. Default: as limits.min.' },
  )
    .nullable()
    .prefault(null),
  max: count(
    { min: 0, max: MACHINES_MAX },
    {
      description:
        'Most machines launched while it is open; those above it leave once they have no work. Default: as limits.max.',
    },
  )
    .nullable()
    .prefault(null),
  leadTime: duration(
    { min: 0, max: HOUR_MS },
    { description: 'So long before it opens machines are started for min.' },
  ).prefault('0s'),
});

/** `spec.demand`. */
export const demandSchema = z.strictObject({
  utilization: z
    .strictObject({
      metric: choice(['cpu', 'memory', 'max'], { description: 'What is watched; max = the busier of both.' }).prefault(
        'cpu',
      ),
      target: percent(
        { min: 0.01, max: 1 },
        { description: 'Share of capacity in use above which more is wanted.' },
      ).prefault('75%'),
      window: duration(
        { min: 10 * SECOND_MS, max: HOUR_MS },
        { description: 'Utilization is averaged over this time.' },
      ).prefault('2m'),
    })
    .meta({ description: 'Demand from how busy the agents are.' })
    .nullable()
    .prefault(null),
  queue: z
    .strictObject({
      source: choice(['bullmq'], {
        description: "Where pending tasks are read: bullmq = Spillway's own tasks.",
      }).prefault('bullmq'),
      name: text(QUEUE_NAME, {
        description: "Name of the queue: so far always the policy's name, which is the default.",
      }).optional(),
      task: taskSchema
        .prefault({})
        .meta({ description: 'Shape of a task that is submitted without one, and of headroom.' }),
      maxWait: duration(
        { min: 0, max: DAY_MS },
        { description: 'How long a task may wait for a local place before the cloud is asked.' },
      ).prefault('90s'),
    })
    .meta({ description: 'Demand from pending tasks.' })
    .nullable()
    .prefault(null),
  headroom: z
    .strictObject({
      tasks: count(
        { min: 1, max: MACHINES_MAX },
        { description: 'Room for this many more tasks is kept free.', examples: [2] },
      ),
    })
    .meta({ description: 'Room kept free, in tasks of the shape of queue.task.' })
    .nullable()
    .prefault(null),
  schedule: z.array(windowSchema).max(LIST_MAX).prefault([]).meta({
    description:
      'Times with a min and a max of machines of their own; of open windows the largest min and the smallest max hold, and max before min.',
  }),
  forecast: z
    .strictObject({
      mode: choice(['ForecastOnly', 'ForecastAndScale'], {
        description:
          'ForecastOnly = say in every plan what is expected and how right that was; ForecastAndScale = also keep room for it.',
      }).prefault('ForecastOnly'),
      leadTime: duration(
        // A forecast made after its time has begun could not be judged, and nothing could be bought for it.
        { min: MINUTE_MS, max: HOUR_MS },
        { description: 'So long before demand is expected there is room for it.' },
      ).prefault('5m'),
      minAccuracy: percent(
        { min: 0.01, max: 1 },
        { description: 'Nothing is done while the forecasts of the last week were less right than this.' },
      ).prefault('70%'),
    })
    .meta({
      description: 'Demand expected from the same time of earlier weeks, or of days until three weeks are known.',
    })
    .nullable()
    .prefault(null),
  freshness: duration(
    { min: SECOND_MS, max: HOUR_MS },
    { description: 'Reports older than this mean HOLD: nothing is removed.' },
  ).prefault('30s'),
});
