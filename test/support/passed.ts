import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Beside what was installed: a clean `npm ci` forgets it. */
const MARK = 'node_modules/.cache/spillway/passed';

/** A name for everything in the checkout that git does not ignore, and for the Node that runs it. */
function nameOfTree(root: string): string {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root });
  const hash = createHash('sha256').update(process.version);
  for (const path of listed.toString().split('\0').sort()) {
    const file = join(root, path);
    // A deleted file is listed until that is committed; a folder in the list is a link.
    if (path === '' || !existsSync(file) || !lstatSync(file).isFile()) continue;
    hash.update(`${path}\0`).update(readFileSync(file)).update('\0');
  }
  return hash.digest('hex');
}

/** True when the whole suite passed on exactly these files since they were installed. */
export function hasPassed(root: string): boolean {
  try {
    return readFileSync(join(root, MARK), 'utf8') === nameOfTree(root);
  } catch {
    // No mark, or no git: then nobody knows.
    return false;
  }
}

/** Remembers that the whole suite passed on these files. */
export function rememberPass(root: string): void {
  try {
    const name = nameOfTree(root);
    mkdirSync(join(root, MARK, '..'), { recursive: true });
    writeFileSync(join(root, MARK), name);
  } catch {
    // Without git the suite simply runs again.
  }
}
