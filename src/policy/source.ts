/** A policy file's text with what is needed to point into it. */
import type { PolicyIssue, PolicyIssueCode } from './types.ts';

export interface Source {
  readonly file: string;
  readonly text: string;
  /** Offset of the first character of each line. */
  readonly lineStarts: readonly number[];
}

/** A stretch of the text; `end` is exclusive. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Keys and list positions from the root. */
export type PolicyPath = readonly (string | number)[];

export interface IssueText {
  readonly code: PolicyIssueCode;
  readonly message: string;
  readonly fix: string;
}

export function makeSource(file: string, text: string): Source {
  const lineStarts = [0];
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) lineStarts.push(at + 1);
  return { file, text, lineStarts };
}

/** Index of the line that holds `offset`, by bisection: a file may have as many lines as characters. */
function lineIndexAt(source: Source, offset: number): number {
  let low = 0;
  let high = source.lineStarts.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((source.lineStarts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Line of an offset, from 1. */
export function lineAt(source: Source, offset: number): number {
  return lineIndexAt(source, offset) + 1;
}

/** `spec.burst.subnets[0]`, `spec.agents.selector["odd key"]`; keys are cut at 64 characters. */
export function formatPath(path: PolicyPath): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (!/^[\w<-]{1,64}$/.test(step)) text += `[${JSON.stringify(step.slice(0, 64))}]`;
    else text += text === '' ? step : `.${step}`;
  }
  return text;
}

/** An issue that points at `span`; what goes beyond the span's first line is not underlined. */
export function issueAt(source: Source, span: Span, path: PolicyPath, what: IssueText): PolicyIssue {
  const start = Math.min(span.start, source.text.length);
  const lineIndex = lineIndexAt(source, start);
  const lineStart = source.lineStarts[lineIndex] ?? 0;
  const nextLine = source.lineStarts[lineIndex + 1] ?? source.text.length + 1;
  const sourceLine = source.text.slice(lineStart, nextLine - 1).replace(/\r$/, '');
  const length = Math.max(1, Math.min(span.end, lineStart + sourceLine.length) - start);
  const { code, message, fix } = what;
  const place = { file: source.file, line: lineIndex + 1, column: start - lineStart + 1, length };
  return { code, ...place, path: formatPath(path), message, fix, sourceLine };
}
