/** The region's control face under `/_region/`: what a test, a demo or an operator of the simulation may see and do. JSON. */
import { z } from 'zod';
import { nanoUsdToDecimal } from '../../model/money.ts';
import { isEc2ErrorCode } from '../ec2-error.ts';
import type { Ec2ErrorCode } from '../ec2-error.ts';
import type { Region } from '../region.ts';

export const CONTROL_PREFIX = '/_region/';

export interface ControlAnswer {
  readonly status: number;
  readonly body: unknown;
}

const times = z.int().min(1).max(10_000).default(1);
const faultSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('error'),
    action: z.string(),
    code: z.custom<Ec2ErrorCode>(
      (value) => typeof value === 'string' && isEc2ErrorCode(value),
      'unknown EC2 error code',
    ),
    message: z.string().max(1000).optional(),
    times,
    after: z.int().min(0).max(10_000).default(0),
  }),
  z.strictObject({ kind: z.literal('lost-reply'), action: z.string(), times }),
  z.strictObject({ kind: z.literal('delay'), action: z.string(), delayMs: z.int().min(0).max(600_000), times }),
  z.strictObject({ kind: z.literal('partial'), instancesMax: z.int().min(0), times }),
  z.strictObject({ kind: z.literal('start-failure'), stateReasonCode: z.string().max(100), times }),
  z.strictObject({
    kind: z.literal('capacity'),
    rules: z
      .array(
        z.strictObject({
          instanceType: z.string(),
          zone: z.string().default('*'),
          market: z.enum(['on-demand', 'spot', '*']).default('*'),
          instancesMax: z.int().min(0),
          fromMs: z.number().default(-Infinity),
          untilMs: z.number().default(Infinity),
        }),
      )
      .max(10_000),
  }),
]);
const instanceSchema = z.strictObject({ instanceId: z.string() });

/** Answers one control request; `path` is what follows the prefix. */
export function answerControl(region: Region, method: string, path: string, body: string): ControlAnswer {
  switch (`${method} ${path}`) {
    case 'GET healthz':
      return { status: 200, body: { status: 'ok' } };
    case 'GET bill':
      return { status: 200, body: billAsJson(region) };
    case 'GET instances':
      return {
        status: 200,
        body: {
          instances: region.instances().map(({ userData, ...view }) => ({ ...view, hasUserData: userData !== null })),
        },
      };
    case 'GET events':
      return { status: 200, body: { events: region.eventsSince(0) } };
    case 'POST faults':
      return withBody(faultSchema, body, (fault) => injectFault(region, fault));
    case 'POST interrupt':
      return withBody(instanceSchema, body, ({ instanceId }) => region.interrupt(instanceId));
    case 'POST shutdown':
      return withBody(instanceSchema, body, ({ instanceId }) => region.shutDownFromInside(instanceId));
    default:
      return { status: 404, body: { error: `no such control: ${method} ${CONTROL_PREFIX}${path}` } };
  }
}

function withBody<T>(schema: z.ZodType<T>, body: string, act: (value: T) => boolean): ControlAnswer {
  let raw: unknown;
  try {
    raw = JSON.parse(body);
  } catch (error) {
    return { status: 400, body: { error: `not JSON: ${String(error)}` } };
  }
  const parsed = schema.safeParse(raw);
  if (!parsed.success) return { status: 400, body: { error: z.prettifyError(parsed.error) } };
  return act(parsed.data) ? { status: 200, body: { done: true } } : { status: 409, body: { done: false } };
}

function injectFault({ faults }: Region, fault: z.infer<typeof faultSchema>): boolean {
  switch (fault.kind) {
    case 'error':
      faults.failNext(fault.action, {
        code: fault.code,
        times: fault.times,
        after: fault.after,
        ...(fault.message === undefined ? {} : { message: fault.message }),
      });
      return true;
    case 'lost-reply':
      faults.loseReply(fault.action, fault.times);
      return true;
    case 'delay':
      faults.delay(fault.action, fault.delayMs, fault.times);
      return true;
    case 'partial':
      faults.fulfilPartially(fault.instancesMax, fault.times);
      return true;
    case 'start-failure':
      faults.failStart(fault.stateReasonCode, fault.times);
      return true;
    case 'capacity':
      faults.setCapacity(fault.rules);
      return true;
  }
}

function billAsJson(region: Region): unknown {
  const bill = region.bill();
  return {
    atMs: bill.atMs,
    totalUsd: nanoUsdToDecimal(bill.totalNanoUsd),
    lines: bill.lines.map(({ instanceNanoUsd, volumeNanoUsd, publicIpv4NanoUsd, totalNanoUsd, ...line }) => ({
      ...line,
      instanceUsd: nanoUsdToDecimal(instanceNanoUsd),
      volumeUsd: nanoUsdToDecimal(volumeNanoUsd),
      publicIpv4Usd: nanoUsdToDecimal(publicIpv4NanoUsd),
      totalUsd: nanoUsdToDecimal(totalNanoUsd),
    })),
  };
}
