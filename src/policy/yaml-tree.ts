/** YAML text -> plain values without prototypes, and where in the text each of them is. */
import { LineCounter, isAlias, isMap, isScalar, isSeq, parseAllDocuments } from 'yaml';
import type { Pair, ParsedNode, YAMLMap } from 'yaml';
import type { PolicyIssue } from './types.ts';
import { issueAt, lineAt } from './source.ts';
import type { IssueText, PolicyPath, Source, Span } from './source.ts';
import { POLICY_DEPTH_MAX, scanPolicy } from './yaml-scan.ts';

/** A map of the policy; it has no prototype, so that no key of a file can mean anything to JavaScript. */
export type Tree = Readonly<Record<string, unknown>>;

export interface PolicyTree {
  /** Null when there is nothing that could be checked further. */
  readonly root: unknown;
  readonly issues: PolicyIssue[];
  readonly spans: ReadonlyMap<string, NodeSpans>;
  /** Paths whose value is already reported: nothing more is said about them. */
  readonly spoiled: ReadonlySet<string>;
}

export interface NodeSpans {
  readonly key: Span | null;
  readonly value: Span;
}

interface Walk {
  readonly source: Source;
  readonly issues: PolicyIssue[];
  readonly spans: Map<string, NodeSpans>;
  readonly spoiled: Set<string>;
}

/** Key of `spans` and `spoiled`: unlike the dotted form it is unique whatever the keys contain. */
export function pathKey(path: PolicyPath): string {
  return JSON.stringify(path);
}

/** Reads one YAML document. Never throws on any text; `root` is null after a syntax error. */
export function readPolicyTree(source: Source): PolicyTree {
  const scan = scanPolicy(source);
  const walk: Walk = { source, issues: [...scan.features], spans: new Map(), spoiled: new Set() };
  if (scan.refused !== null) return { ...walk, root: null, issues: [...walk.issues, scan.refused] };
  const root = composeRoot(walk);
  return { ...walk, root };
}

function composeRoot(walk: Walk): unknown {
  const documents = parseAllDocuments(walk.source.text, {
    version: '1.2',
    schema: 'core',
    merge: false,
    resolveKnownTags: false,
    stringKeys: true,
    // Compared with every earlier key of a map, which is quadratic; `addPair` checks with a set instead.
    uniqueKeys: false,
    prettyErrors: false,
    lineCounter: new LineCounter(),
    logLevel: 'silent',
  });
  const [document, second] = 'empty' in documents ? [] : documents;
  if (second !== undefined) {
    const [start] = second.range;
    report(walk, { start, end: start + 1 }, [], {
      code: 'POLICY_SYNTAX',
      message: 'a second document begins here',
      fix: 'write one policy per file',
    });
  }
  if (document === undefined || document.contents === null) {
    report(walk, { start: 0, end: 1 }, [], EMPTY_FILE);
    return null;
  }
  const errors = document.errors.filter((error) => error.code !== 'BAD_ALIAS' && error.code !== 'TAG_RESOLVE_FAILED');
  for (const error of errors.slice(0, SYNTAX_ISSUES_MAX)) {
    report(walk, { start: error.pos[0], end: error.pos[1] }, [], syntaxText(error.code, error.message));
  }
  if (errors.length > 0 || second !== undefined) return null;
  const root = nodeValue(walk, document.contents, []);
  // `null` and `~` are what an empty file is to YAML.
  if (root === null && walk.issues.length === 0) report(walk, { start: 0, end: 1 }, [], EMPTY_FILE);
  return root;
}

const EMPTY_FILE: IssueText = {
  code: 'POLICY_MISSING',
  message: 'the file is empty',
  fix: 'write a policy; `spillway policy schema` prints its form',
};

/** After a handful of syntax errors the rest mostly follows from the first. */
const SYNTAX_ISSUES_MAX = 5;

function syntaxText(code: string, message: string): IssueText {
  const fixes: Readonly<Record<string, string>> = {
    TAB_AS_INDENT: 'indent with spaces',
    BAD_INDENT: 'indent keys of one map with the same number of spaces',
    MISSING_CHAR: 'close what is open, or put the text in quotes',
    NON_STRING_KEY: 'write keys as plain words',
    UNEXPECTED_TOKEN: 'delete it, or put the text in quotes',
    BLOCK_AS_IMPLICIT_KEY: 'start the nested map on a line of its own, or put the text in quotes',
  };
  const sentence = message.replace(/[.\s]+$/, '').replaceAll(/\s+/g, ' ');
  return {
    code: 'POLICY_SYNTAX',
    message: `not valid YAML: ${sentence}`,
    fix: fixes[code] ?? 'correct the YAML at this place',
  };
}

function report(walk: Walk, span: Span, path: PolicyPath, what: IssueText): void {
  walk.issues.push(issueAt(walk.source, span, path, what));
}

function spanOf(node: ParsedNode): Span {
  const [start, end] = node.range;
  return { start, end };
}

function nodeValue(walk: Walk, node: ParsedNode, path: PolicyPath): unknown {
  if (!walk.spans.has(pathKey(path))) walk.spans.set(pathKey(path), { key: null, value: spanOf(node) });
  if (path.length > POLICY_DEPTH_MAX) {
    const message = `a policy is at most ${POLICY_DEPTH_MAX} levels deep`;
    report(walk, spanOf(node), path, { code: 'POLICY_TOO_LARGE', message, fix: 'write it flatter' });
    walk.spoiled.add(pathKey(path));
    return null;
  }
  if (isMap(node)) return mapValue(walk, node, path);
  if (isSeq(node)) return node.items.map((item, index) => nodeValue(walk, item, [...path, index]));
  if (isAlias(node) || node.tag !== undefined) walk.spoiled.add(pathKey(path));
  return isScalar(node) ? node.value : null;
}

function mapValue(walk: Walk, map: YAMLMap.Parsed, path: PolicyPath): Tree {
  const result: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  if (map.tag !== undefined) walk.spoiled.add(pathKey(path));
  for (const pair of map.items) addPair(walk, result, pair, path);
  return result;
}

function addPair(
  walk: Walk,
  result: Record<string, unknown>,
  pair: Pair<ParsedNode, ParsedNode | null>,
  path: PolicyPath,
): void {
  const span = spanOf(pair.key);
  const key = isScalar(pair.key) && typeof pair.key.value === 'string' ? pair.key.value : null;
  const here = key === null ? path : [...path, key];
  const refusal = key === null ? NOT_A_WORD : refusedKey(walk, result, here);
  if (key === null || refusal !== null) {
    report(walk, span, here, refusal ?? NOT_A_WORD);
    return;
  }
  const { value } = pair;
  walk.spans.set(pathKey(here), { key: span, value: value === null ? span : spanOf(value) });
  result[key] = value === null ? null : nodeValue(walk, value, here);
}

/** Why the last key of `here` cannot stand in the map read so far. */
function refusedKey(walk: Walk, result: Tree, here: PolicyPath): IssueText | null {
  const code = 'POLICY_YAML_FEATURE';
  const fix = 'delete it and write the keys that are meant';
  const key = String(here.at(-1));
  if (key === '<<') return { code, message: 'policies have no YAML merge keys', fix };
  if (key === '__proto__') return { code, message: '__proto__ cannot be a key', fix };
  if (!(key in result)) return null;
  const line = lineAt(walk.source, walk.spans.get(pathKey(here))?.key?.start ?? 0);
  return {
    code: 'POLICY_DUPLICATE_KEY',
    message: `${key} is already written on line ${line}`,
    fix: 'keep one of the two',
  };
}

const NOT_A_WORD: IssueText = { code: 'POLICY_SYNTAX', message: 'a key must be a word', fix: 'write `key: value`' };
