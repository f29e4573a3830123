import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';

import { WITNESSED_NONCES_MAX, WITNESSED_REGIONS_MAX, type Testimony } from '../model/amnesia.ts';
import { describeError } from '../model/errors.ts';
import type { Ids } from '../ports/ids.ts';
import type { Log } from '../ports/log.ts';
import type { Witness } from '../ports/witness.ts';

/** Twice what a full testimony takes; a larger file is not ours. */
const BYTES_MAX = 16 * 1024;

const count = z.number().int().nonnegative();
const testimony: z.ZodType<Testimony> = z.strictObject({
  owner: z.string().min(1).max(256),
  epoch: count,
  turns: count,
  nonces: z.array(z.string().regex(/^[0-9a-f]{32}$/)).max(WITNESSED_NONCES_MAX),
  regions: z.array(z.string().min(1).max(64)).max(WITNESSED_REGIONS_MAX),
  server: z.string().max(64).nullable(),
});

/**
 * The witness as a small file beside the service. Written whole under another name and renamed, with its bytes and its name made
 * durable: after a power cut there is the old one or the new one.
 */
export function createFileWitness(file: string, { log, ids }: { readonly log: Log; readonly ids: Ids }): Witness {
  // Told once per outage: a full disk must not fill the log with every lease.
  let failing = false;
  const tell = (doing: string, error: unknown): void => {
    if (!failing)
      log.warn({ file, error: describeError(error) }, `the witness file could not be ${doing}; it is gone without`);
    failing = true;
  };
  return {
    async read() {
      try {
        const text = await readFile(file, 'utf8');
        if (text.length > BYTES_MAX) throw new Error(`it is longer than ${BYTES_MAX} bytes`);
        return testimony.parse(JSON.parse(text));
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) tell('read', error);
        return null;
      }
    },

    async write(said) {
      try {
        // Two services in containers that share the folder are both process 1.
        await replace(file, `${file}.${ids.hex(6)}`, `${JSON.stringify(said)}\n`);
        failing = false;
      } catch (error) {
        tell('written', error);
      }
    },
  };
}

async function replace(file: string, draft: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  try {
    const handle = await open(draft, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, file);
  } finally {
    await rm(draft, { force: true });
  }
  const folder = await open(dirname(file), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
