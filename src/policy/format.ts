import { AppError } from '../model/errors.ts';
import type { PolicyIssue } from './types.ts';

/** Columns of the source line that are shown; the issue's own place is always among them. */
const SHOWN_COLUMNS = 100;

/** All issues for people: place, sentence, the line with a caret, what to write instead. No colour, ends without a newline. */
export function formatIssues(issues: readonly PolicyIssue[]): string {
  return issues.map(formatIssue).join('\n\n');
}

function formatIssue(issue: PolicyIssue): string {
  const label = issue.path === '' || issue.message.startsWith(issue.path) ? '' : `${printable(issue.path)}: `;
  const head = `${printable(issue.file)}:${issue.line}:${issue.column}: error: ${label}${printable(issue.message)} (${issue.code})`;
  const { line, caret } = excerpt(issue);
  const gutter = String(issue.line).padStart(5);
  return [
    head,
    `${gutter} | ${line}`,
    `${' '.repeat(gutter.length)} | ${caret}`,
    `  fix: ${printable(issue.fix)}`,
  ].join('\n');
}

/** Files come from anywhere: control and direction characters must not reach the terminal. One for one, so that columns stay. */
function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\u00B7');
}

function excerpt(issue: PolicyIssue): { line: string; caret: string } {
  const column = issue.column - 1;
  const from = column < SHOWN_COLUMNS - 20 ? 0 : column - SHOWN_COLUMNS / 2;
  const shown = issue.sourceLine.slice(from, from + SHOWN_COLUMNS);
  const before = from > 0 ? '...' : '';
  const after = from + SHOWN_COLUMNS < issue.sourceLine.length ? '...' : '';
  const width = Math.max(1, Math.min(issue.length, shown.length - (column - from)));
  return {
    line: `${before}${printable(shown)}${after}`,
    caret: ' '.repeat(before.length + column - from) + '^'.repeat(width),
  };
}

/** The error of a command that cannot go on with these issues; `details.issues` holds all of them. Exit code 2. */
export function policyInvalidError(issues: readonly PolicyIssue[]): AppError {
  const [first] = issues;
  const files = new Set(issues.map((issue) => issue.file)).size;
  const where = first === undefined ? '' : `, first at ${first.file}:${first.line}:${first.column}: ${first.message}`;
  const problems = issues.length === 1 ? '1 problem' : `${issues.length} problems`;
  const message = `${problems} in ${files === 1 ? 'a policy' : `${files} policies`}${where}`;
  const remedy =
    first === undefined
      ? 'Correct the policy.'
      : `${first.fix}; \`spillway policy validate FILE\` shows every problem with its line.`;
  return new AppError('POLICY_INVALID', message, { remedy, details: { issues } });
}
