import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

const ROOT = new URL('../../', import.meta.url);
const ENTRY = 'src/planner/plan.ts';
/** The file that the version is written to cannot be part of it. */
export const VERSION_FILE = 'src/planner/version.generated.ts';

/** Every file whose code may take part in a plan: what `planAll` imports, however far away, in the order of their paths. */
export async function listPlannerSources(): Promise<readonly { readonly path: string; readonly text: string }[]> {
  const texts = new Map<string, string>();
  const open = [ENTRY];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (texts.has(path) || path === VERSION_FILE) continue;
    const text = await readFile(new URL(path, ROOT), 'utf8');
    texts.set(path, text);
    for (const [, specifier = ''] of text.matchAll(/^(?:import|export)\s[^;]*?from '(\.[^']+)'/gm)) {
      open.push(new URL(specifier, new URL(path, 'file:///')).pathname.slice(1));
    }
  }
  return [...texts].map(([path, text]) => ({ path, text })).sort((a, b) => (a.path < b.path ? -1 : 1));
}

/**
 * The source of the planner's version. Any change of its code, a comment too, is another version: a replay must never
 * take another planner for the same one; the other mistake only costs a sentence.
 */
export async function renderPlannerVersion(): Promise<string> {
  const hash = createHash('sha256');
  for (const { path, text } of await listPlannerSources()) hash.update(`${path}\0${text}\0`);
  return `/* Generated from the sources of the planner by \`npm run generate\`. */

/** Which planner this is: plans name the one that made them, because another one may decide otherwise. */
export const PLANNER_VERSION = '${hash.digest('hex').slice(0, 12)}';
`;
}
