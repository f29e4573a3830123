import { describe, expect, it } from 'vitest';
import { classifyEc2Error } from '../../src/cloud/error-classes.ts';
import { holdOf, reactionTo, reactionToEnd, type Reaction } from '../../src/jobs/reactions.ts';
import type { RefusalClass } from '../../src/ports/cloud.ts';

const MINUTE_MS = 60_000;

function short({ next, hold, settlesCalls, remedy }: Reaction): string {
  const minutes = (ms: number | null): string => (ms === null ? 'policy' : String(ms / MINUTE_MS));
  const held =
    hold === null ? 'nothing' : `${hold.scope} ${hold.errorClass} ${minutes(hold.minMs)}..${minutes(hold.maxMs)}`;
  return [next, held, ...(settlesCalls ? ['settles'] : []), ...(remedy === null ? [] : ['remedy'])].join(', ');
}

/** By EC2's code alone, as the adapter sees it: with a status that says refused. */
function reactionToCode(code: string): string {
  return short(reactionTo(classifyEc2Error({ code, httpStatus: 400 }) as RefusalClass, code));
}

describe('the reaction to a refusal', () => {
  it.each([
    ['InsufficientInstanceCapacity', 'move-on, offering capacity 3..30'],
    ['UnfulfillableCapacity', 'move-on, offering capacity 3..30'],
    ['InsufficientHostCapacity', 'move-on, offering capacity 3..30'],
    ['InsufficientReservedInstanceCapacity', 'move-on, offering capacity 3..30'],
    ['ReservationCapacityExceeded', 'move-on, offering capacity 3..30'],
    ['SpotMaxPriceTooLow', 'move-on, offering capacity 3..30'],
    ['InsufficientFreeAddressesInSubnet', 'move-on, subnet capacity 3..30'],
    ['Unsupported', 'move-on, offering capacity 360..1440'],
    ['VcpuLimitExceeded', 'move-on, quota quota 10..60, remedy'],
    ['MaxSpotInstanceCountExceeded', 'move-on, quota quota 10..60, remedy'],
    ['InstanceLimitExceeded', 'move-on, quota quota 10..60, remedy'],
    ['VolumeLimitExceeded', 'move-on, region quota 10..60, remedy'],
    ['MaxIOPSLimitExceeded', 'move-on, region quota 10..60, remedy'],
    ['PendingVerification', 'move-on, region quota 10..60, remedy'],
    ['UnauthorizedOperation', 'close, workload auth 2..10, remedy'],
    ['AuthFailure.ServiceLinkedRoleCreationNotPermitted', 'close, workload auth 2..10, remedy'],
    ['OptInRequired', 'close, workload auth 2..10, remedy'],
    ['SignatureDoesNotMatch', 'close, workload auth 2..10, remedy'],
    ['InvalidAMIID.NotFound', 'close, workload config policy..policy, remedy'],
    ['InvalidUserData.Malformed', 'close, workload config policy..policy, remedy'],
    ['InvalidParameterValue', 'close, workload config policy..policy, remedy'],
    ['IdempotentParameterMismatch', 'wait, workload idempotency policy..policy, remedy'],
    ['IdempotentInstanceTerminated', 'move-on, nothing, settles'],
  ])('%s is: %s', (code, expected) => {
    expect(reactionToCode(code)).toBe(expected);
  });
});

describe('the reaction to an instance that ended before it ran', () => {
  it.each([
    ['Server.InsufficientInstanceCapacity', 'move-on, offering capacity 3..30'],
    ['Server.InternalError', 'move-on, offering capacity 3..30'],
    ['Server.SpotInstanceTermination', 'move-on, offering capacity 3..30'],
    ['Client.VolumeLimitExceeded', 'move-on, region quota 10..60, remedy'],
    ['Client.InternalError', 'close, workload auth 2..10, remedy'],
    ['Client.InvalidSnapshot.NotFound', 'close, workload config policy..policy, remedy'],
    ['Client.UserInitiatedShutdown', null],
    ['Client.InstanceInitiatedShutdown', null],
    ['Server.ScheduledStop', null],
  ])('%s is: %s', (code, expected) => {
    const reaction = reactionToEnd(code);
    expect(reaction === null ? null : short(reaction)).toBe(expected);
  });
});

it('a hold names what it holds', () => {
  const offering = {
    region: 'eu-central-1',
    instanceType: 'c6a.large',
    zone: 'eu-central-1a',
    subnetId: 'subnet-1',
    market: 'spot',
    workload: 'render',
  } as const;
  const error = { code: 'X', detail: 'why' };
  const names = (['InsufficientInstanceCapacity', 'InsufficientFreeAddressesInSubnet'] as const).map(
    (code) => holdOf(reactionTo('capacity', code), offering, error)?.name,
  );
  expect(names).toEqual(['c6a.large/eu-central-1a/spot', 'subnet-1']);
  expect(holdOf(reactionTo('quota', 'VcpuLimitExceeded'), offering, error)).toMatchObject({
    scope: 'quota',
    name: 'eu-central-1/standard/spot',
    errorCode: 'X',
    detail: 'why',
  });
  expect(holdOf(reactionTo('auth', 'Blocked'), offering, error)?.name).toBe('render');
  expect(holdOf(reactionTo('ended', 'IdempotentInstanceTerminated'), offering, error)).toBeNull();
});
