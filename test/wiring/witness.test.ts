import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WITNESSED_NONCES_MAX, WITNESSED_REGIONS_MAX, type Testimony } from '../../src/model/amnesia.ts';
import { createFileWitness } from '../../src/wiring/witness.ts';
import { randomIds } from '../support/clock.ts';
import { recordingLog } from '../support/log.ts';

const TESTIMONY: Testimony = {
  owner: 'us',
  epoch: 3,
  turns: 50,
  nonces: ['0'.repeat(32)],
  regions: ['us-east-1'],
  server: null,
};

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-witness-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('the witness file', () => {
  test('gives back what was written, to the owner alone, and leaves no draft', async () => {
    const file = join(folder, 'new', 'witness.json');
    const log = recordingLog();
    const witness = createFileWitness(file, { log, ids: randomIds });
    expect(await witness.read()).toBeNull();
    await witness.write(TESTIMONY);
    await witness.write({ ...TESTIMONY, turns: 51 });
    expect(await witness.read()).toEqual({ ...TESTIMONY, turns: 51 });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(folder, 'new'))).toEqual(['witness.json']);
    expect(log.lines).toEqual([]);
  });

  test('stays readable when it is as full as it may be', async () => {
    const full = {
      ...TESTIMONY,
      owner: 'o'.repeat(256),
      nonces: Array.from({ length: WITNESSED_NONCES_MAX }, () => 'f'.repeat(32)),
      regions: Array.from({ length: WITNESSED_REGIONS_MAX }, () => 'r'.repeat(64)),
    };
    const witness = createFileWitness(join(folder, 'witness.json'), { log: recordingLog(), ids: randomIds });
    await witness.write(full);
    expect(await witness.read()).toEqual(full);
  });

  test.each([
    '',
    '{',
    'null',
    '{"owner":"us"}',
    JSON.stringify({ ...TESTIMONY, epoch: -1 }),
    JSON.stringify({ ...TESTIMONY, nonces: ['x'] }),
    JSON.stringify({ ...TESTIMONY, more: 1 }),
    ' '.repeat(20_000),
  ])('is no witness when it is damaged (%#), which is told and no error', async (text) => {
    const file = join(folder, 'witness.json');
    const log = recordingLog();
    await writeFile(file, text);
    expect(await createFileWitness(file, { log, ids: randomIds }).read()).toBeNull();
    expect(log.lines.map(({ level }) => level)).toEqual(['warn']);
  });

  test('that cannot be written is told once, and the one that was there stays whole', async () => {
    const file = join(folder, 'witness.json');
    const log = recordingLog();
    const witness = createFileWitness(file, { log, ids: randomIds });
    await witness.write(TESTIMONY);
    const before = await readFile(file, 'utf8');
    // In the place of the folder's file a folder: renaming onto it fails for every user, root included.
    const blocked = createFileWitness(folder, { log, ids: randomIds });
    await mkdir(join(folder, 'kept'));
    await blocked.write(TESTIMONY);
    await blocked.write(TESTIMONY);
    expect(log.lines).toHaveLength(1);
    expect(await readFile(file, 'utf8')).toBe(before);
  });
});
