import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import type { Db } from '../../src/store/database.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createReports } from '../../src/store/reports.ts';
import { createRetentionStore } from '../../src/store/retention.ts';
import { aMachine, NOW_MS, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';

const KIB = 1024;
const keep = async (db: Db, id: MachineId, content: string, exitCode = 1) =>
  await createMachineStore(db).keepOutput(id, { phase: 'join', exitCode, content });
const logOf = async (db: Db, id: MachineId, after = 0) => await createReports(db).readMachineLog(id, after);

describe('what is said on a machine', () => {
  test('is kept in order, and what is said again in a row is told once with its count', async ({ db }) => {
    await stopClock(db);
    const { id } = await aMachine(db, 'joining');
    await keep(db, id, 'first\n');
    await passTime(db, 1000);
    await keep(db, id, 'second\n');
    await keep(db, id, 'second\n');
    await keep(db, id, 'second\n', 0);
    const log = await logOf(db, id);
    expect(log?.ended).toBe(false);
    expect(log?.items.map(({ content, exitCode, times }) => [content, exitCode, times])).toEqual([
      ['first\n', 1, 1],
      ['second\n', 1, 2],
      ['second\n', 0, 1],
    ]);
    expect(log?.items[1]?.at).toBe(new Date(NOW_MS + 1000).toISOString());
    expect((await logOf(db, id, log?.items[1]?.id))?.items).toHaveLength(1);
    expect(await logOf(db, 'mc-zzzzzzzzzzzz')).toBeNull();
  });

  test('is bounded: the end of each piece, and the newest pieces of each machine', async ({ db }) => {
    const [loud, other] = [await aMachine(db, 'joining'), await aMachine(db, 'joining')];
    await keep(db, other.id, 'quiet');
    for (const word of ['a', 'b', 'c', 'd', 'e', 'f']) await keep(db, loud.id, `${'ü'.repeat(40 * KIB)}${word}`);
    const kept = (await logOf(db, loud.id))?.items ?? [];
    expect(kept.map(({ content }) => content.at(-1))).toEqual(['c', 'd', 'e', 'f']);
    expect(Buffer.byteLength(kept[0]?.content ?? '')).toBeLessThanOrEqual(64 * KIB);
    expect((await logOf(db, other.id))?.items).toHaveLength(1);
  });

  test('is forgotten with other old rows', async ({ db }) => {
    await stopClock(db);
    const { id } = await aMachine(db, 'joining');
    await keep(db, id, 'old');
    await passTime(db, 1001);
    await keep(db, id, 'new');
    await createRetentionStore(db).forget(1000, 100);
    expect((await logOf(db, id))?.items.map(({ content }) => content)).toEqual(['new']);
  });
});
