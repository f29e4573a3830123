/** What rules about several keys at once have in common. */
import { isSpoiled, rawAt, spanAt } from './explain.ts';
import { issueAt } from './source.ts';
import type { IssueText, PolicyPath, Source } from './source.ts';
import type { PolicyIssue } from './types.ts';
import { pathKey } from './yaml-tree.ts';
import type { PolicyTree } from './yaml-tree.ts';

/** A file that is being checked, and what was found so far. */
export interface Check {
  readonly source: Source;
  readonly tree: PolicyTree;
  readonly issues: PolicyIssue[];
}

/** True for a map. */
export function isMapValue(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Adds an issue at its place, unless the value there is reported already. */
export function report(check: Check, at: PolicyPath, what: IssueText): void {
  if (isSpoiled(check.tree, at)) return;
  const spans = check.tree.spans.get(pathKey(at));
  // A whole map is meant by its key: underlining its first line would point at the wrong thing.
  const span = isMapValue(rawAt(check.tree.root, at)) ? (spans?.key ?? spanAt(check.tree, at)) : spanAt(check.tree, at);
  check.issues.push(issueAt(check.source, span, at, what));
}
