/**
 * The cheap look at a policy before it is parsed. Lexing is linear in the text; building the tree is not in every case
 * (20,000 keys take seconds, 20,000 brackets the stack), so that size, depth and counts are bounded here.
 */
import { Lexer } from 'yaml';
import type { PolicyIssue } from './types.ts';
import { issueAt } from './source.ts';
import type { IssueText, Source } from './source.ts';

/** A policy with every key and a comment on each is under 8 KiB; 256 KiB leaves room for any list of subnets. */
export const POLICY_BYTES_MAX = 256 * 1024;
export const POLICY_KEYS_MAX = 2000;
export const POLICY_DEPTH_MAX = 32;
/** Empty lines and comments are cheap, but not free. */
const LINES_MAX = 20_000;
/** Scalars, list items and brackets: five per key is more than real files have. */
const NODES_MAX = 5 * POLICY_KEYS_MAX;
/** Each forbidden feature is shown, but no more than fit on a screen. */
const FEATURE_ISSUES_MAX = 20;

export interface ScanResult {
  /** Not null: the text must not be parsed. */
  readonly refused: PolicyIssue | null;
  /** Anchors, aliases, tags and directives, in the order of the text. */
  readonly features: readonly PolicyIssue[];
}

interface ScanState {
  readonly source: Source;
  offset: number;
  keys: number;
  nodes: number;
  flowDepth: number;
  /** `- - -` and `? ? ?` on one line: block depth that costs two characters a level. */
  lineDepth: number;
  documents: number;
  documentEnds: number;
  scalarNext: boolean;
  readonly features: PolicyIssue[];
}

/** Never throws on any text. */
export function scanPolicy(source: Source): ScanResult {
  const bytes = Buffer.byteLength(source.text);
  if (bytes > POLICY_BYTES_MAX) {
    const message = `the file has ${bytes} bytes, a policy at most ${POLICY_BYTES_MAX}`;
    return { refused: issueAt(source, { start: 0, end: 1 }, [], tooLarge(message)), features: [] };
  }
  const lines = source.lineStarts.length;
  if (lines > LINES_MAX) {
    const message = `the file has ${lines} lines, a policy at most ${LINES_MAX}`;
    return { refused: issueAt(source, { start: 0, end: 1 }, [], tooLarge(message)), features: [] };
  }
  // oxlint-disable-next-line no-control-regex -- control characters are exactly what is looked for
  const control = /[\0-\x08\x0B\x0C\x0E-\x1F\x7F]/.exec(source.text);
  if (control !== null) {
    const code = control[0].charCodeAt(0).toString(16).padStart(2, '0');
    const what = {
      code: 'POLICY_SYNTAX',
      message: `the character 0x${code} cannot be in a policy`,
      fix: 'delete it',
    } as const;
    return { refused: issueAt(source, { start: control.index, end: control.index + 1 }, [], what), features: [] };
  }
  return scanLexemes(source);
}

function tooLarge(message: string): IssueText {
  return { code: 'POLICY_TOO_LARGE', message, fix: 'write a smaller policy, or several of them in files of their own' };
}

function scanLexemes(source: Source): ScanResult {
  const state: ScanState = {
    source,
    offset: 0,
    keys: 0,
    nodes: 0,
    flowDepth: 0,
    lineDepth: 0,
    documents: 0,
    documentEnds: 0,
    scalarNext: false,
    features: [],
  };
  for (const lexeme of new Lexer().lex(source.text)) {
    const marker = lexeme === '\x02' || lexeme === '\x18' || lexeme === '\x1f';
    if (state.scalarNext) {
      state.scalarNext = false;
      state.nodes += 1;
    } else if (lexeme === '\x1f') {
      state.scalarNext = true;
    } else if (!marker) {
      countLexeme(state, lexeme);
    }
    const refused = exceeded(state, lexeme);
    if (refused !== null) return { refused, features: state.features };
    if (!marker) state.offset += lexeme.length;
  }
  return { refused: null, features: state.features };
}

function countLexeme(state: ScanState, lexeme: string): void {
  const first = lexeme[0] ?? '';
  if (first === '\n' || first === '\r') state.lineDepth = 0;
  if (first === '?' || lexeme === '-') state.lineDepth += 1;
  if (first === ':' || first === '?') state.keys += 1;
  if (NODE_STARTS.includes(first)) state.nodes += 1;
  state.flowDepth = Math.max(0, state.flowDepth + (FLOW_STEPS[first] ?? 0));
  countDocument(state, lexeme);
  noteFeature(state, lexeme);
}

function countDocument(state: ScanState, lexeme: string): void {
  if (lexeme === '---') state.documents += 1;
  if (lexeme === '...') state.documentEnds += 1;
}

const FLOW_STEPS: Readonly<Record<string, number>> = { '[': 1, '{': 1, ']': -1, '}': -1 };

/** Each of these begins, ends or separates values, so that counting them bounds the values. */
const NODE_STARTS: readonly string[] = ['[', '{', ']', '}', '-', ',', '"', "'", '&', '*', '!'];

function noteFeature(state: ScanState, lexeme: string): void {
  const what = featureText(lexeme);
  if (what === null) return;
  if (state.features.length >= FEATURE_ISSUES_MAX) return;
  const span = { start: state.offset, end: state.offset + lexeme.length };
  state.features.push(issueAt(state.source, span, [], { code: 'POLICY_YAML_FEATURE', ...what }));
}

function featureText(lexeme: string): Omit<IssueText, 'code'> | null {
  if (lexeme.startsWith('*')) {
    const fix = `write "${lexeme}" if the star is meant`;
    return { message: `${lexeme} is read as a YAML alias, which policies do not have`, fix };
  }
  return FEATURES[lexeme[0] ?? ''] ?? null;
}

const FEATURES: Readonly<Record<string, Omit<IssueText, 'code'>>> = {
  '&': {
    message: 'policies have no YAML anchors',
    fix: 'delete the anchor and write the value where it is needed, or put text that begins with & in quotes',
  },
  '!': { message: 'policies have no YAML tags', fix: 'delete the tag, or put text that begins with ! in quotes' },
  '%': { message: 'policies have no YAML directives', fix: 'delete this line' },
};

function exceeded(state: ScanState, lexeme: string): PolicyIssue | null {
  const span = { start: state.offset, end: state.offset + Math.max(1, lexeme.length) };
  const at = (what: IssueText) => issueAt(state.source, span, [], what);
  if (state.keys > POLICY_KEYS_MAX) return at(tooLarge(`a policy has at most ${POLICY_KEYS_MAX} keys`));
  if (state.nodes > NODES_MAX) return at(tooLarge(`a policy has at most ${NODES_MAX} values`));
  if (state.flowDepth > POLICY_DEPTH_MAX || state.lineDepth > POLICY_DEPTH_MAX) {
    return at(tooLarge(`a policy is at most ${POLICY_DEPTH_MAX} levels deep`));
  }
  if (state.documents > 1 || state.documentEnds > 1) {
    return at({ code: 'POLICY_SYNTAX', message: 'a second document begins here', fix: 'write one policy per file' });
  }
  return null;
}
