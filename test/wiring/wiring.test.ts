import { describe, expect } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import { isId } from '../../src/model/ids.ts';
import { createCredentials } from '../../src/wiring/credentials.ts';
import { systemClock, systemIds } from '../../src/wiring/system.ts';
import { translatingErrors } from '../../src/wiring/translate-errors.ts';
import { test } from '../support/database.ts';

describe('a store with translated errors', () => {
  test('throws what an operator can act on, and passes the rest as it is', async () => {
    const bug = new TypeError('a bug');
    const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    const store = translatingErrors({
      limit: 7,
      double: async (value: number) => value * 2,
      reach: async (): Promise<void> => {
        throw refused;
      },
      stumble: async (): Promise<void> => {
        throw bug;
      },
    });
    expect(store.limit).toBe(7);
    expect(await store.double(4)).toBe(8);
    await expect(store.reach()).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE', cause: refused });
    await expect(store.stumble()).rejects.toBe(bug);
  });

  test('leaves errors alone that are told well already', async () => {
    const told = new AppError('REFUSED', 'no', { remedy: 'none' });
    const store = translatingErrors({
      act: async (): Promise<void> => {
        throw told;
      },
    });
    await expect(store.act()).rejects.toBe(told);
  });

  test('keeps `this` of a store that is a class', async () => {
    class Counter {
      private count = 0;
      async next(): Promise<number> {
        this.count += 1;
        return await Promise.resolve(this.count);
      }
    }
    const counter = translatingErrors(new Counter());
    expect([await counter.next(), await counter.next()]).toEqual([1, 2]);
  });

  test('says what is wrong with a real server that lacks the tables', async ({ pool }) => {
    await pool.query('drop schema spillway cascade');
    const store = translatingErrors({ read: async () => await pool.query('select id from spillway.machines') });
    await expect(store.read()).rejects.toMatchObject({ code: 'DATABASE_SCHEMA' });
  });
});

describe('credentials', () => {
  const ours = createCredentials(Buffer.alloc(32, 1));
  const theirs = createCredentials(Buffer.alloc(32, 2));
  const nonce = 'ab'.repeat(16);
  const body = { sshUser: 'ubuntu', authorizedKey: 'ssh-ed25519 AAAA' };

  test('follow from key and nonce alone', () => {
    expect(ours.makeToken(nonce, 1)).toBe(createCredentials(Buffer.alloc(32, 1)).makeToken(nonce, 1));
    expect(ours.renderUserData(nonce, body)).toBe(ours.renderUserData(nonce, body));
    expect(ours.hostPublicKey(nonce)).not.toBe(theirs.hostPublicKey(nonce));
    expect(ours.hostPublicKey(nonce)).not.toBe(ours.hostPublicKey('cd'.repeat(16)));
  });

  test('put the very key into user-data that the host must prove', () => {
    expect(ours.renderUserData(nonce, body)).toContain(ours.hostPublicKey(nonce));
  });

  test('know their own tokens from those of another deployment', () => {
    expect(ours.verifyToken(ours.makeToken(nonce, 3))).toEqual({ nonce, attempt: 3 });
    expect(ours.verifyToken(theirs.makeToken(nonce, 3))).toBeNull();
  });

  test('tell a missing key file by name', async () => {
    await expect(ours.loginPublicKey({ kind: 'file', file: '/nowhere/id_ed25519' })).rejects.toMatchObject({
      code: 'CONFIG_KEY_FILE',
      message: expect.stringContaining('/nowhere/id_ed25519') as string,
    });
  });
});

describe('the ids of production', () => {
  test('have the form that SQL and the API check, and do not repeat', () => {
    const ids = Array.from({ length: 2000 }, () => systemIds.next('mc'));
    expect(ids.every((id) => isId('mc', id))).toBe(true);
    expect(new Set(ids).size).toBe(2000);
    expect(systemIds.hex(16)).toMatch(/^[0-9a-f]{32}$/);
    const numbers = Array.from({ length: 1000 }, () => systemIds.random());
    expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true);
    expect(Math.max(...numbers) - Math.min(...numbers)).toBeGreaterThan(0.5);
  });
});

describe('the clock of production', () => {
  test('sleeps until it is aborted, with the reason of the signal as the cause', async () => {
    const stopping = new AbortController();
    const sleeping = systemClock.sleep(60_000, stopping.signal);
    stopping.abort(new Error('enough'));
    await expect(sleeping).rejects.toMatchObject({ name: 'AbortError', cause: { message: 'enough' } });
    expect(systemClock.monotonicMs()).toBeGreaterThan(0);
  });
});
