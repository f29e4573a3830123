/**
 * Goal: a process that was deposed, stopped, suspended or cut off does nothing more with what it read before.
 * Method: a scripted clock of two hands, and a database that answers as told; the store's own tests show the lease row.
 */
import { describe, expect, test } from 'vitest';
import { createLead, type Lead } from '../../src/loops/lead.ts';
import { waitMs } from '../../src/model/waits.ts';
import type { Lease } from '../../src/ports/leadership.ts';
import { quietLog } from '../support/log.ts';
import { shows } from '../support/waits.ts';

const TTL = 15_000;

class Hands {
  wallMs = 1_000_000;
  monotonicAtMs = 0;
  nowMs(): number {
    return this.wallMs;
  }
  monotonicMs(): number {
    return this.monotonicAtMs;
  }
  pass(ms: number): void {
    this.wallMs += ms;
    this.monotonicAtMs += ms;
  }
}

interface Scene {
  readonly hands: Hands;
  readonly lead: Lead;
  readonly asked: number[];
  readonly released: Lease[];
  /** What the database says next: an epoch, null for another leader, or an error. */
  says: number | null | Error;
  /** What happens to the process while it waits for the database. */
  meanwhile: () => void;
}

function scene(): Scene {
  const hands = new Hands();
  const asked: number[] = [];
  const released: Lease[] = [];
  const state: Omit<Scene, 'lead'> = { hands, asked, released, says: 1, meanwhile: () => undefined };
  const lead = createLead({
    clock: hands,
    log: quietLog,
    holder: 'a',
    ttlMs: TTL,
    leadership: {
      async acquire(holder, ttlMs) {
        asked.push(hands.monotonicAtMs);
        state.meanwhile();
        if (state.says instanceof Error) throw state.says;
        return state.says === null ? null : { holder, epoch: state.says, expiresAtMs: hands.wallMs + ttlMs };
      },
      async release(lease) {
        released.push(lease);
      },
      silenceMs: async () => null,
    },
  });
  return Object.assign(state, { lead });
}

async function mandateOf(lead: Lead) {
  const mandate = await lead.take();
  if (mandate === null) throw new Error('it does not lead');
  return mandate;
}

describe('the lease', () => {
  test(`is renewed at a third of its time, and not at every turn ${shows('leader.renewal')}`, async () => {
    const { hands, lead, asked } = scene();
    for (let turn = 0; turn < 16; turn += 1) {
      await lead.take();
      hands.pass(1000);
    }
    expect(asked).toEqual([0, 5000, 10_000, 15_000]);
  });

  test('is asked for once when several turns want it at the same moment', async () => {
    const { lead, asked } = scene();
    await Promise.all([lead.take(), lead.take(), lead.renew()]);
    expect(asked).toHaveLength(1);
  });

  test('uses the published numbers', () => {
    expect([waitMs('leader.renewal'), waitMs('leader.mandate')]).toEqual([
      waitMs('leader.lease') / 3,
      (waitMs('leader.lease') * 2) / 3,
    ]);
  });

  test('of somebody else is no mandate', async () => {
    const told = scene();
    told.says = null;
    expect(await told.lead.take()).toBeNull();
  });

  test('that is released ends every mandate at once', async () => {
    const { lead, released } = scene();
    const mandate = await mandateOf(lead);
    await lead.release();
    expect(mandate.holds()).toBe(false);
    expect(released).toMatchObject([{ holder: 'a', epoch: 1 }]);
    await lead.release();
    expect(released).toHaveLength(1);
  });
});

describe('a mandate', () => {
  test(`ends two thirds of the lease after the last renewal ${shows('leader.mandate')}`, async () => {
    const { hands, lead } = scene();
    const mandate = await mandateOf(lead);
    hands.pass(9999);
    expect(mandate.holds()).toBe(true);
    hands.pass(1);
    expect(mandate.holds()).toBe(false);
  });

  test('counts from the question to the database, not from its answer', async () => {
    const told = scene();
    told.meanwhile = () => told.hands.pass(4000);
    const mandate = await mandateOf(told.lead);
    told.hands.pass(5999);
    expect(mandate.holds()).toBe(true);
    told.hands.pass(1);
    expect(mandate.holds()).toBe(false);
  });

  test('of an answer that came too late is none', async () => {
    const told = scene();
    told.meanwhile = () => told.hands.pass(10_000);
    expect(await told.lead.take()).toBeNull();
  });

  test('outlives a long turn when the lease is renewed meanwhile', async () => {
    const { hands, lead } = scene();
    const mandate = await mandateOf(lead);
    for (let renewal = 0; renewal < 20; renewal += 1) {
      hands.pass(5000);
      await lead.renew();
    }
    expect(mandate.holds()).toBe(true);
  });

  test('does not come back when a stopped process renews its lease in time for the database', async () => {
    const { hands, lead } = scene();
    const before = await mandateOf(lead);
    // SIGSTOP for 12 s: the lease of 15 s still holds, the timer that renews it is the first to run.
    hands.pass(12_000);
    await lead.renew();
    expect(before.holds()).toBe(false);
    expect((await mandateOf(lead)).holds()).toBe(true);
  });

  test('does not come back with a new epoch', async () => {
    const told = scene();
    const before = await mandateOf(told.lead);
    told.says = 2;
    await told.lead.renew();
    expect(before.holds()).toBe(false);
    expect((await mandateOf(told.lead)).lease.epoch).toBe(2);
  });

  test.for([
    ['the wall clock ran on alone: a suspended machine', 3000, 0],
    ['the wall clock was set back', -3_600_000, 0],
    ['the wall clock was set forward', 3_600_000, 0],
    ['the monotonic clock ran on alone', 0, 2001],
  ] as const)('ends when %s', async ([, wallMs, monotonicMs]) => {
    const { hands, lead } = scene();
    const mandate = await mandateOf(lead);
    hands.wallMs += wallMs;
    hands.monotonicAtMs += monotonicMs;
    expect(mandate.holds()).toBe(false);
    expect(mandate.signBefore().wallMs).toBeLessThan(hands.wallMs);
    expect(await lead.take()).not.toBeNull();
  });

  test('bears a clock that is corrected by less than two seconds', async () => {
    const { hands, lead } = scene();
    const mandate = await mandateOf(lead);
    hands.wallMs -= 1900;
    hands.pass(5000);
    expect(mandate.holds()).toBe(true);
  });

  test('ends by whichever clock is further', async () => {
    const { hands, lead } = scene();
    const mandate = await mandateOf(lead);
    hands.pass(8500);
    hands.wallMs += 1500;
    expect(mandate.holds()).toBe(false);
  });

  test('goes on through an outage of the database for as long as it was given, and no longer', async () => {
    const told = scene();
    const mandate = await mandateOf(told.lead);
    told.says = new Error('the database is away');
    told.hands.pass(6000);
    await expect(told.lead.take()).rejects.toThrow('away');
    expect(mandate.holds()).toBe(true);
    told.hands.pass(4000);
    expect(mandate.holds()).toBe(false);
  });

  test('names the moment to sign by, by both clocks', async () => {
    const { hands, lead } = scene();
    const mandate = await mandateOf(lead);
    expect(mandate.signBefore()).toEqual({ wallMs: hands.wallMs + 10_000, monotonicMs: 10_000 });
    hands.pass(10_000);
    expect(mandate.signBefore()).toEqual({ wallMs: -Infinity, monotonicMs: -Infinity });
  });
});
