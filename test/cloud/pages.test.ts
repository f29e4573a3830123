import { expect, test } from 'vitest';
import { readPages } from '../../src/cloud/pages.ts';
import type { Page } from '../../src/cloud/pages.ts';

const bounds = { pagesMax: 10, deadlineMonotonicMs: 100, monotonicMs: () => 0 };

/** Pages 0..n-1 of one number each; the last one ends with `lastToken`. */
function numbered(count: number, lastToken?: string) {
  return (nextToken: string | undefined): Promise<Page<number>> => {
    const page = Number(nextToken ?? 0);
    return Promise.resolve({ items: [page], nextToken: page + 1 < count ? String(page + 1) : lastToken });
  };
}

test.each([undefined, ''])('pages are read until there is no token any more (%j)', async (lastToken) => {
  expect(await readPages(numbered(3, lastToken), bounds)).toEqual({ items: [0, 1, 2], stoppedBy: null });
});

test('as many pages as the bound are complete, one more is not', async () => {
  expect((await readPages(numbered(10), bounds)).stoppedBy).toBeNull();
  const cut = await readPages(numbered(11), bounds);
  expect([cut.items.length, cut.stoppedBy]).toEqual([10, { reason: 'page-bound' }]);
});

test('a later page that fails ends the listing with what was read', async () => {
  const error = new Error('page 2');
  const read = numbered(5);
  const cut = await readPages((token) => (token === '2' ? Promise.reject(error) : read(token)), bounds);
  expect(cut).toEqual({ items: [0, 1], stoppedBy: { reason: 'failure', error } });
});

test('page 7 that fails, or leads back to a page that was read, ends the listing as incomplete', async () => {
  const read = numbered(9);
  const failing = await readPages((token) => (token === '6' ? Promise.reject(new Error('7')) : read(token)), bounds);
  expect([failing.items.length, failing.stoppedBy?.reason]).toEqual([6, 'failure']);
  let asked = 0;
  const circling = await readPages(async (token) => {
    asked += 1;
    return token === '6' ? { items: [6], nextToken: '6' } : await read(token);
  }, bounds);
  expect([asked, circling.stoppedBy?.reason]).toEqual([7, 'repeated']);
});

test('a page without items is no end as long as it has a token', async () => {
  const read = numbered(9);
  const listed = await readPages(
    async (token) => ({ ...(await read(token)), ...(token === '6' && { items: [] }) }),
    bounds,
  );
  expect(listed).toEqual({ items: [0, 1, 2, 3, 4, 5, 7, 8], stoppedBy: null });
});

test('a first page that fails is thrown', async () => {
  await expect(readPages(() => Promise.reject(new Error('page 0')), bounds)).rejects.toThrow('page 0');
});

test('no page is asked for after the deadline', async () => {
  let nowMs = 0;
  const read = numbered(5);
  const cut = await readPages(
    (token) => {
      nowMs += 60;
      return read(token);
    },
    { ...bounds, monotonicMs: () => nowMs },
  );
  expect(cut).toEqual({ items: [0, 1], stoppedBy: { reason: 'deadline' } });
});
