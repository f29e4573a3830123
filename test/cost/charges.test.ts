import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BilledMachine, Charge } from '../../src/cost/charges.ts';
import { accruedFor, billingBeginMs, chargedThrough, chargesFor } from '../../src/cost/charges.ts';
import { nanoUsdFromDecimal, nanoUsdToDecimal } from '../../src/model/money.ts';
import { HOUR, SECOND, START, billed, sum } from './fixtures.ts';

const usd = (charges: readonly Charge[]): string => nanoUsdToDecimal(sum(charges)).replace(/0{5}$/, '');
const TAKEN = 'Server.SpotInstanceTermination';
const cents = (atMs: number, price: string) => ({ atMs, pricePerHour: nanoUsdFromDecimal(price) });

/** Ran for 100 s, was stopped until START + 1 h, and runs since. */
const RESTARTED: Partial<BilledMachine> = {
  volumeGib: 10,
  run: 2,
  runLaunchAtMs: START + HOUR,
  runningSeenAtMs: START + HOUR,
  pastRuns: [
    { run: 1, launchAtMs: START, pendingSeenAtMs: null, runningSeenAtMs: START, stoppedAtMs: START + 100 * SECOND },
  ],
};

describe('a machine that was stopped and started', () => {
  const of = (kind: Charge['kind'], charges: readonly Charge[]): [number, number, number][] =>
    charges
      .filter((charge) => charge.kind === kind)
      .map(({ run, fromMs, toMs }) => [run, (fromMs - START) / SECOND, (toMs - START) / SECOND]);

  it('is charged for each run, and for its volume throughout', () => {
    const charges = chargesFor(billed({ ...RESTARTED, endedAtMs: START + HOUR + 90 * SECOND }), 0);
    expect(of('compute', charges)).toEqual([
      [1, 0, 100],
      [2, 3600, 3690],
    ]);
    expect(of('volume', charges)).toEqual([[1, 0, 3690]]);
  });

  it('owes 60 s for each start, also where one reaches into the next', () => {
    const stoppedAtMs = START + 10 * SECOND;
    const short = {
      ...RESTARTED,
      runLaunchAtMs: START + 30 * SECOND,
      runningSeenAtMs: START + 30 * SECOND,
      pastRuns: [{ run: 1, launchAtMs: START, pendingSeenAtMs: null, runningSeenAtMs: START, stoppedAtMs }],
      endedAtMs: START + 40 * SECOND,
    };
    expect(of('compute', chargesFor(billed(short), 0))).toEqual([
      [1, 0, 60],
      [2, 30, 90],
    ]);
  });

  it('pays for its volume only while it is stopped', () => {
    const stopped = billed({ volumeGib: 10, stoppedAtMs: START + 100 * SECOND, chargedThroughMs: START + HOUR });
    const charges = chargesFor(stopped, START + 2 * HOUR);
    expect(charges.map(({ kind }) => kind)).toEqual(['volume']);
    expect(accruedFor(stopped, START + 2 * HOUR).map(({ kind }) => kind)).toEqual(['volume']);
  });

  it('is charged the same however often it is settled', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 8000 }), { maxLength: 8 }), (moments) => {
        const whole = billed({ ...RESTARTED, endedAtMs: START + 9000 * SECOND });
        const first = billed({ volumeGib: 10 });
        const charges: Charge[] = [];
        let chargedThroughMs: number | null = null;
        for (const at of moments.sort((a, b) => a - b)) {
          const seen: BilledMachine =
            at <= 100
              ? first
              : at < 3600
                ? { ...first, stoppedAtMs: START + 100 * SECOND }
                : { ...whole, endedAtMs: null };
          const more = chargesFor({ ...seen, chargedThroughMs }, START + at * SECOND);
          chargedThroughMs = chargedThrough(more) ?? chargedThroughMs;
          charges.push(...more);
        }
        charges.push(...chargesFor({ ...whole, chargedThroughMs }, 0));
        expect(sum(charges)).toBe(sum(chargesFor(whole, 0)));
        const keys = charges.map(({ kind, run, fromMs }) => `${kind}/${run}/${fromMs}`);
        expect(new Set(keys).size).toBe(keys.length);
      }),
    );
  });
});

describe('what a machine is charged', () => {
  it('is nothing for compute when EC2 says that it never ran, although its row was taken to', () => {
    const rebuilt = { launchAtMs: START, runningSeenAtMs: START, endedAtMs: START + 300 * SECOND };
    const kinds = (endCode: string) =>
      chargesFor(billed({ ...rebuilt, endCode, volumeGib: 10 }), 0).map(({ kind }) => kind);
    expect(kinds('Server.InsufficientInstanceCapacity')).toEqual(['volume']);
    expect(kinds('Client.UserInitiatedShutdown')).toEqual(['compute', 'volume']);
  });

  it.each<{ says: string; machine: Partial<BilledMachine>; usd: string }>([
    { says: 'by the second', machine: { endedAtMs: START + 90 * SECOND }, usd: '0.0900' },
    { says: 'a begun second as a whole one', machine: { endedAtMs: START + 90 * SECOND + 1 }, usd: '0.0910' },
    { says: '60 s at least', machine: { endedAtMs: START + 5 * SECOND }, usd: '0.0600' },
    {
      says: 'nothing when it ended before it ran',
      machine: { runningSeenAtMs: null, endedAtMs: START + 60 * SECOND },
      usd: '0.0000',
    },
    {
      says: 'from 5 s after the launch when no look fell into its life: EC2 could not be listed',
      machine: { runningSeenAtMs: null, endedAtMs: START + HOUR },
      usd: '3.5950',
    },
    {
      says: 'nothing when it could not start, however late its end was heard of',
      machine: { runningSeenAtMs: null, endedAtMs: START + HOUR, endCode: 'Client.VolumeLimitExceeded' },
      usd: '0.0000',
    },
    {
      says: 'nothing when it ended within a minute of the last look that saw it pending',
      machine: { runningSeenAtMs: null, pendingSeenAtMs: START + HOUR, endedAtMs: START + HOUR + 60 * SECOND },
      usd: '0.0000',
    },
    {
      says: 'from half-way between the last look at pending and the first at running',
      machine: {
        pendingSeenAtMs: START + 10 * SECOND,
        runningSeenAtMs: START + 20 * SECOND,
        endedAtMs: START + 120 * SECOND,
      },
      usd: '0.1050',
    },
    {
      says: 'from five seconds after the last look at pending when nobody looked for long after it',
      machine: {
        pendingSeenAtMs: START + 10 * SECOND,
        runningSeenAtMs: START + 600 * SECOND,
        endedAtMs: START + 900 * SECOND,
      },
      usd: '0.8850',
    },
    {
      says: 'each spot price for its own time',
      machine: {
        market: 'spot',
        spotPrices: [cents(START - HOUR, '3.6'), cents(START + HOUR, '1.8')],
        endedAtMs: START + 2 * HOUR,
      },
      usd: '5.4000',
    },
    {
      says: 'the launch price on the spot market while no point is known',
      machine: { market: 'spot', endedAtMs: START + HOUR },
      usd: '3.6000',
    },
    {
      says: 'nothing when AWS takes a spot machine back within its first hour',
      machine: { market: 'spot', endedAtMs: START + HOUR - SECOND, endCode: TAKEN },
      usd: '0.0000',
    },
    {
      says: 'all of it when AWS takes a spot machine back later',
      machine: { market: 'spot', endedAtMs: START + HOUR, endCode: TAKEN },
      usd: '3.6000',
    },
    {
      says: "12 hours of 2,000 GiB in a 30-day month: AWS's own example, $2.67",
      machine: { volumeGib: 2000, pricePerHour: 0n, endedAtMs: START + 12 * HOUR },
      usd: '2.666666667',
    },
    {
      says: 'a volume from the launch on, 60 s at least',
      machine: {
        volumeGib: 2592,
        pricePerHour: 0n,
        runningSeenAtMs: START + 10 * SECOND,
        endedAtMs: START + 20 * SECOND,
      },
      usd: '0.0048',
    },
    {
      says: 'a public IPv4 address when it has one',
      machine: { publicIpv4: true, pricePerHour: 0n, endedAtMs: START + 2 * HOUR },
      usd: '0.0100',
    },
  ])('charges $says', ({ machine, usd: expected }) => {
    expect(usd(chargesFor(billed(machine), START))).toBe(expected);
  });

  it('closes a living machine only up to the boundary, and estimates the rest', () => {
    const machine = billed();
    const closed = chargesFor(machine, START + 600 * SECOND + 999);
    expect([usd(closed), chargedThrough(closed)]).toEqual(['0.6000', START + 600 * SECOND]);
    const rest = accruedFor({ ...machine, chargedThroughMs: chargedThrough(closed) }, START + 700 * SECOND);
    expect(usd(rest)).toBe('0.1000');
  });

  it('owes the 60 s minimum from the first second', () => {
    expect(usd(accruedFor(billed(), START + SECOND))).toBe('0.0600');
  });

  it('charges nothing twice: a settled machine has nothing left', () => {
    const machine = billed({ volumeGib: 20, endedAtMs: START + 10 * SECOND });
    const chargedThroughMs = chargedThrough(chargesFor(machine, START));
    expect(chargesFor({ ...machine, chargedThroughMs }, START + HOUR)).toEqual([]);
  });

  it('charges nothing for a machine that was not seen running yet, not even its volume', () => {
    expect(chargesFor(billed({ runningSeenAtMs: null, volumeGib: 20 }), START + HOUR)).toEqual([]);
  });

  it('gives back what was charged before AWS took the machine back within its first hour', () => {
    const machine = billed({ market: 'spot' });
    const early = chargesFor(machine, START + 600 * SECOND);
    const late = chargesFor(
      { ...machine, chargedThroughMs: chargedThrough(early), endedAtMs: START + 1200 * SECOND, endCode: TAKEN },
      START + HOUR,
    );
    expect([sum(early) > 0n, sum([...early, ...late])]).toEqual([true, 0n]);
    expect(late.map(({ priceSource }) => priceSource)).toEqual(['spot-taken-back-in-first-hour']);
  });

  it('never begins before the launch', () => {
    const machine = billed({
      launchAtMs: START + 9 * SECOND,
      pendingSeenAtMs: START,
      runningSeenAtMs: START + 10 * SECOND,
    });
    expect(billingBeginMs(machine)).toBe(START + 9 * SECOND);
  });
});

const anyMachine = fc
  .record({
    market: fc.constantFrom('on-demand' as const, 'spot' as const),
    price: fc.bigInt({ min: 1n, max: 20_000_000_000n }),
    points: fc.array(
      fc.record({
        atMs: fc.integer({ min: -HOUR, max: 90 * 24 * HOUR }).map((at) => START + at),
        pricePerHour: fc.bigInt({ min: 1n, max: 20_000_000_000n }),
      }),
      { maxLength: 6 },
    ),
    volumeGib: fc.integer({ min: 0, max: 500 }),
    publicIpv4: fc.boolean(),
    pendingMs: fc.integer({ min: 0, max: 90_000 }),
    lifeMs: fc.oneof(fc.integer({ min: 0, max: 120_000 }), fc.integer({ min: 0, max: 80 * 24 * HOUR })),
    endCode: fc.constantFrom(null, TAKEN),
  })
  .map(({ market, price, points, pendingMs, lifeMs, ...rest }) =>
    billed({
      ...rest,
      market,
      pricePerHour: price,
      spotPrices: points,
      runningSeenAtMs: START + pendingMs,
      endedAtMs: START + pendingMs + lifeMs,
    }),
  );

const cuts = fc
  .array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 })
  .map((list) => list.sort((a, b) => a - b));

describe('settling in any number of steps', () => {
  it('adds up to settling once, without gap or overlap', () => {
    fc.assert(
      fc.property(anyMachine, cuts, (machine, shares) => {
        const { runningSeenAtMs, endedAtMs } = machine;
        const charges: Charge[] = [];
        let chargedThroughMs: number | null = null;
        const settle = (facts: BilledMachine, boundaryMs: number): void => {
          const more = chargesFor({ ...facts, chargedThroughMs }, boundaryMs);
          charges.push(...more);
          chargedThroughMs = chargedThrough(more) ?? chargedThroughMs;
        };
        for (const share of shares) {
          // Looks before the last whole second: after it, the open machine would already be charged to its end.
          const lastLook = Math.max(runningSeenAtMs!, endedAtMs! - SECOND);
          const boundary = runningSeenAtMs! + share * (lastLook - runningSeenAtMs!);
          settle({ ...machine, endedAtMs: null, endCode: null }, boundary);
        }
        settle(machine, endedAtMs!);
        expect(sum(charges)).toBe(sum(chargesFor(machine, endedAtMs!)));
        for (const kind of ['compute', 'volume', 'ipv4']) {
          const steps = charges.filter((charge) => charge.kind === kind);
          for (const [index, charge] of steps.entries()) {
            expect(charge.fromMs).toBe(steps[index - 1]?.toMs ?? charge.fromMs);
            expect(charge.toMs).toBeGreaterThan(charge.fromMs);
            expect(charge.quantitySeconds).toBe((charge.toMs - charge.fromMs) / SECOND);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});
