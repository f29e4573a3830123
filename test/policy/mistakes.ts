import { parsePolicy } from '../../src/policy/parse.ts';
import type { PolicyIssue } from '../../src/policy/types.ts';

/** The issues of a text; none when it is a good policy. */
export function issuesOf(text: string): readonly PolicyIssue[] {
  const result = parsePolicy(text, { file: 'p.yaml', checkFiles: false });
  return result.ok ? [] : result.issues;
}

/** One line per issue: `line:column code path | message | fix`. */
export function issueLines(text: string): string[] {
  return issuesOf(text).map(
    (issue) => `${issue.line}:${issue.column} ${issue.code} ${issue.path} | ${issue.message} | ${issue.fix}`,
  );
}

export const DURATION_FIX = 'write whole numbers with the units d, h, m, s or ms, such as 90s, 5m or 1h30m';
export const SIZE_FIX = 'write a number with the unit MiB, GiB or TiB, such as 512MiB or 4GiB';
