import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { AppError, describeError } from '../../model/errors.ts';

/** A log of five million lines has some 200 MB; V8 holds no string above half a gibibyte. */
const TEXT_BYTES_MAX = 500_000_000;

/** The text of a file, plain or gzip. @throws AppError INPUT_UNREADABLE */
export async function readTextFile(path: string): Promise<string> {
  try {
    const bytes = await readFile(path);
    const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
    const plain = isGzip ? gunzipSync(bytes, { maxOutputLength: TEXT_BYTES_MAX }) : bytes;
    if (plain.length > TEXT_BYTES_MAX) throw new RangeError(`more than ${TEXT_BYTES_MAX} bytes`);
    return plain.toString('utf8');
  } catch (error) {
    throw new AppError('INPUT_UNREADABLE', `Cannot read ${path}: ${describeError(error)}`, {
      remedy: 'Name a file that this user may read, plain text or gzip, of half a gigabyte of text at most.',
      cause: error,
    });
  }
}
