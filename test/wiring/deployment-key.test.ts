import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ensureDeploymentKey } from '../../src/wiring/deployment-key.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-key-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('the deployment key', () => {
  test('is made on the first start and the same ever after', async () => {
    const file = join(folder, 'new', 'folder', 'key');
    const made = await ensureDeploymentKey(file);
    expect(made).toHaveLength(32);
    expect(await ensureDeploymentKey(file)).toEqual(made);
    expect(await readFile(file, 'utf8')).toBe(`${made.toString('hex')}\n`);
  });

  test('can be read by its owner alone, whatever the umask', async () => {
    const file = join(folder, 'key');
    const before = process.umask(0);
    try {
      await ensureDeploymentKey(file);
    } finally {
      process.umask(before);
    }
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test('is one and the same for starts at the same moment, and no draft stays', async () => {
    const file = join(folder, 'key');
    const keys = await Promise.all(Array.from({ length: 8 }, async () => await ensureDeploymentKey(file)));
    const kept = (await readFile(file, 'utf8')).trim();
    expect(keys.map((key) => key.toString('hex'))).toEqual(keys.map(() => kept));
    expect(await readdir(folder)).toEqual(['key']);
  });

  test('is different in another installation', async () => {
    const one = await ensureDeploymentKey(join(folder, 'one'));
    expect(await ensureDeploymentKey(join(folder, 'two'))).not.toEqual(one);
  });

  test.each(['', 'not a key', 'abc123', `${'0'.repeat(63)}g`, 'A'.repeat(64), `${'0'.repeat(64)}\n${'1'.repeat(64)}`])(
    'is refused, and not replaced, when its file holds %j',
    async (text) => {
      const file = join(folder, 'key');
      await writeFile(file, text);
      await expect(ensureDeploymentKey(file)).rejects.toMatchObject({ code: 'CONFIG_KEY_FILE' });
      expect(await readFile(file, 'utf8')).toBe(text);
    },
  );

  test('is refused when its file is a folder', async () => {
    await mkdir(join(folder, 'key'));
    await expect(ensureDeploymentKey(join(folder, 'key'))).rejects.toMatchObject({ code: 'CONFIG_KEY_FILE' });
  });

  test('that cannot be written is a clear error and no stack', async () => {
    const place = join(folder, 'file-in-the-way');
    await writeFile(place, '');
    await expect(ensureDeploymentKey(join(place, 'key'))).rejects.toMatchObject({
      code: 'CONFIG_KEY_FILE',
      remedy: expect.stringContaining('SPILLWAY_DATA_DIR'),
    });
    // Nothing can be made there, not even by root.
    await expect(ensureDeploymentKey('/sys/spillway/key')).rejects.toMatchObject({ code: 'CONFIG_KEY_FILE' });
  });
});
