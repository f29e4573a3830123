import { crossCheck } from './cross-checks.ts';
import { explainIssues } from './explain.ts';
import { normalizePolicy } from './normalize.ts';
import { documentSchema } from './schema.ts';
import { makeSource } from './source.ts';
import type { Source } from './source.ts';
import type { ParsePolicyResult, PolicyIssue } from './types.ts';
import { readPolicyTree } from './yaml-tree.ts';
import type { PolicyTree } from './yaml-tree.ts';

export interface ParsePolicyOptions {
  /** Name of the file for messages; relative paths in the policy start at its folder. */
  readonly file: string;
  /** True (default): the recipe script and the private key must exist and be readable. */
  readonly checkFiles?: boolean;
}

/** More would not be read: the cap keeps a hostile file from making a report larger than itself. */
const ISSUES_MAX = 100;

/** What reading found, with what is needed to point into the text afterwards. */
export interface PolicyRead {
  readonly source: Source;
  readonly tree: PolicyTree;
  readonly result: ParsePolicyResult;
}

/**
 * Reads one policy. Every problem of the file is reported at once, in the order of its lines; never throws on any text.
 * At most 100 issues are returned.
 */
export function parsePolicy(text: string, options: ParsePolicyOptions): ParsePolicyResult {
  return readPolicy(text, options).result;
}

/** `parsePolicy` for callers that have more to say about places in the text. */
export function readPolicy(text: string, options: ParsePolicyOptions): PolicyRead {
  // Editors on Windows write a byte order mark; columns are counted as if it were not there.
  const source = makeSource(options.file, text.replace(/^\uFEFF/, ''));
  const tree = readPolicyTree(source);
  return { source, tree, result: checkTree(source, tree, options) };
}

function checkTree(source: Source, tree: PolicyTree, options: ParsePolicyOptions): ParsePolicyResult {
  if (tree.root === null) return { ok: false, issues: inOrder(tree.issues) };
  const parsed = documentSchema.safeParse(tree.root);
  const issues = [
    ...tree.issues,
    ...(parsed.success ? [] : explainIssues(source, tree, parsed.error.issues)),
    ...crossCheck(source, tree, { checkFiles: options.checkFiles ?? true }),
  ];
  if (issues.length > 0 || !parsed.success) return { ok: false, issues: inOrder(issues) };
  return { ok: true, policy: normalizePolicy(parsed.data, options.file) };
}

function inOrder(issues: readonly PolicyIssue[]): PolicyIssue[] {
  return issues.toSorted((a, b) => a.line - b.line || a.column - b.column).slice(0, ISSUES_MAX);
}
