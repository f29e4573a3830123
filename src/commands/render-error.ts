import { AppError, describeError } from '../model/errors.ts';
import { API_VERSION } from './output/output.ts';
import { terminalSafe } from './output/terminal-text.ts';

export interface RenderedError {
  readonly text: string;
  readonly exitCode: number;
}

/**
 * An error as people and programs read it, always for standard error: standard output carries data only, so that
 * `spillway ... -o json > file` never leaves half a document and an error in one file.
 */
export function renderError(
  error: unknown,
  options: { readonly json: boolean; readonly debug: boolean },
): RenderedError {
  if (error instanceof AppError) {
    const text = options.json ? jsonError(error.code, error.message, causeOf(error), error.remedy) : humanError(error);
    return { text: text + stackOf(error, options.debug && !options.json), exitCode: error.exitCode };
  }
  const what = describeError(error);
  const remedy = 'this is a bug of Spillway: run the command again with --debug and report what it prints';
  const text = options.json
    ? jsonError('INTERNAL', what, null, remedy)
    : `error: ${terminalSafe(what)} (INTERNAL)\nfix: ${remedy}\n`;
  return { text: text + stackOf(error, options.debug && !options.json), exitCode: 1 };
}

function humanError(error: AppError): string {
  const cause = causeOf(error);
  const [what = '', ...more] = error.message.split('\n').map(terminalSafe);
  // A message of several lines (issues of a policy) stays readable; indented, no line of it can pass for one of ours.
  const lines = [`error: ${what} (${error.code})`, ...more.map((line) => `  ${line}`.trimEnd())];
  if (cause !== null) lines.push(`cause: ${terminalSafe(cause)}`);
  lines.push(`fix: ${terminalSafe(error.remedy)}`);
  return `${lines.join('\n')}\n`;
}

function causeOf(error: AppError): string | null {
  if (error.cause === undefined || error.cause === null) return null;
  const cause = describeError(error.cause);
  return cause === '' || error.message.includes(cause) ? null : cause;
}

function jsonError(code: string, message: string, cause: string | null, remedy: string): string {
  return `${JSON.stringify({ apiVersion: API_VERSION, kind: 'Error', error: { code, message, cause, remedy } })}\n`;
}

/** Stacks of the error and of its causes, five at most. */
function stackOf(error: unknown, wanted: boolean): string {
  if (!wanted) return '';
  const stacks: string[] = [];
  for (
    let level = 0, current: unknown = error;
    level < 5 && current instanceof Error;
    level += 1, current = current.cause
  ) {
    stacks.push(current.stack ?? String(current));
  }
  return stacks.length === 0 ? '' : `${stacks.join('\ncaused by: ')}\n`;
}
