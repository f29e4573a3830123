import { describe, expect } from 'vitest';
import { createLeadership, holdsLease } from '../../src/store/leadership.ts';
import { inTransaction } from '../../src/store/database.ts';
import { NOW_MS, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';
import { shows } from '../support/waits.ts';

const TTL_MS = 15_000;

describe('leadership', () => {
  test('one of two that ask at the same time leads', async ({ db }) => {
    const leadership = createLeadership(db);

    const leases = await Promise.all(['a', 'b', 'c', 'd'].map((holder) => leadership.acquire(holder, TTL_MS)));

    expect(leases.filter((lease) => lease !== null)).toHaveLength(1);
  });

  test(`one of two that find an expired lease takes it over ${shows('leader.lease')}`, async ({ db }) => {
    await stopClock(db);
    const leadership = createLeadership(db);
    await leadership.acquire('gone', TTL_MS);
    await passTime(db, TTL_MS);

    const leases = await Promise.all(['a', 'b', 'c', 'd'].map((holder) => leadership.acquire(holder, TTL_MS)));

    expect(leases.filter((lease) => lease !== null)).toMatchObject([{ epoch: 2, expiresAtMs: NOW_MS + 2 * TTL_MS }]);
  });

  test('a renewal keeps the epoch and moves the end', async ({ db }) => {
    await stopClock(db);
    const leadership = createLeadership(db);
    const first = await leadership.acquire('a', TTL_MS);
    await passTime(db, 5_000);

    const renewed = await leadership.acquire('a', TTL_MS);

    expect(first).toEqual({ holder: 'a', epoch: 1, expiresAtMs: NOW_MS + TTL_MS });
    expect(renewed).toEqual({ holder: 'a', epoch: 1, expiresAtMs: NOW_MS + 5_000 + TTL_MS });
  });

  test('a lease that has time left is nobody else’s', async ({ db }) => {
    await stopClock(db);
    const leadership = createLeadership(db);
    await leadership.acquire('a', TTL_MS);
    await passTime(db, TTL_MS - 1);

    expect(await leadership.acquire('b', TTL_MS)).toBeNull();
  });

  test('a holder that comes back after its lease ran out gets a new epoch, so that its old transactions stay fenced', async ({
    db,
  }) => {
    await stopClock(db);
    const leadership = createLeadership(db);
    await leadership.acquire('a', TTL_MS);
    await passTime(db, TTL_MS);

    expect(await leadership.acquire('a', TTL_MS)).toMatchObject({ epoch: 2 });
  });

  test('a release frees the lease at once and only for the epoch that it names', async ({ db }) => {
    await stopClock(db);
    const leadership = createLeadership(db);
    const lease = await leadership.acquire('a', TTL_MS);

    await leadership.release({ ...lease!, epoch: 7 });
    expect(await leadership.acquire('b', TTL_MS)).toBeNull();
    await leadership.release(lease!);
    expect(await leadership.acquire('b', TTL_MS)).toMatchObject({ holder: 'b', epoch: 2 });

    await leadership.release(lease!);
    expect(await leadership.acquire('c', TTL_MS)).toBeNull();
  });

  test('a lease that was given up does not hold any more', async ({ db }) => {
    const leadership = createLeadership(db);
    const lease = await leadership.acquire('a', TTL_MS);
    expect(await inTransaction(db, async (tx) => await holdsLease(tx, lease!))).toBe(true);

    await leadership.release(lease!);

    expect(await inTransaction(db, async (tx) => await holdsLease(tx, lease!))).toBe(false);
  });

  test('a takeover waits for a transaction that has checked the lease, and a transaction after it is fenced', async ({
    db,
  }) => {
    await stopClock(db);
    const leadership = createLeadership(db);
    const lease = await leadership.acquire('old', TTL_MS);
    await withOpenTransaction(db, async (deciding) => {
      expect(await holdsLease(deciding, lease!)).toBe(true);
      await passTime(db, TTL_MS);

      const takeover = leadership.acquire('new', TTL_MS);
      await untilBlocked(db);
      await deciding.commit().execute();

      expect(await takeover).toMatchObject({ holder: 'new', epoch: 2 });
    });
    expect(await inTransaction(db, async (tx) => await holdsLease(tx, lease!))).toBe(false);
  });

  test('a lease whose holder’s process is known to be gone is taken over at once, with the next epoch', async ({
    db,
  }) => {
    await stopClock(db);
    const leadership = createLeadership(db, (holder) => holder === 'dead');
    await leadership.acquire('dead', TTL_MS);

    expect(await leadership.acquire('heir', TTL_MS)).toMatchObject({ holder: 'heir', epoch: 2 });
    expect(await leadership.acquire('other', TTL_MS)).toBeNull();
  });

  test('one of many heirs of a dead holder leads', async ({ db }) => {
    const leadership = createLeadership(db, (holder) => holder === 'dead');
    const dead = await leadership.acquire('dead', TTL_MS);

    const leases = await Promise.all(['a', 'b', 'c', 'd'].map((holder) => leadership.acquire(holder, TTL_MS)));

    expect(leases.filter((lease) => lease !== null)).toMatchObject([{ epoch: 2 }]);
    expect(await inTransaction(db, async (tx) => await holdsLease(tx, dead!))).toBe(false);
  });

  test('what a dead holder left open in the database ends before its heir leads', async ({ db }) => {
    const leadership = createLeadership(db, (holder) => holder === 'dead');
    const lease = await leadership.acquire('dead', TTL_MS);
    await withOpenTransaction(db, async (deciding) => {
      expect(await holdsLease(deciding, lease!)).toBe(true);

      const takeover = leadership.acquire('heir', TTL_MS);
      await untilBlocked(db);
      await deciding.commit().execute();

      expect(await takeover).toMatchObject({ holder: 'heir', epoch: 2 });
    });
  });

  test('tells for how long nobody has led, and that nobody ever did', async ({ db }) => {
    await stopClock(db);
    const leadership = createLeadership(db);
    expect(await leadership.silenceMs(TTL_MS)).toBeNull();
    await leadership.acquire('a', TTL_MS);
    expect(await leadership.silenceMs(TTL_MS)).toBe(0);

    await passTime(db, 20_000);

    expect(await leadership.silenceMs(TTL_MS)).toBe(20_000);
  });
});
