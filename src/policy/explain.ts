/** Turns what zod refused into sentences that point into the file. */
import type { z } from 'zod';
import { nearestWord, quoteValue } from '../model/units.ts';
import { placesOfKey, policySchema, schemaNodeAt } from './json-schema.ts';
import type { SchemaNode } from './json-schema.ts';
import { formatPath, issueAt } from './source.ts';
import type { IssueText, PolicyPath, Source, Span } from './source.ts';
import type { PolicyIssue } from './types.ts';
import { isUnsupportedKey, isUnsupportedValue } from './unsupported.ts';
import { pathKey } from './yaml-tree.ts';
import type { PolicyTree } from './yaml-tree.ts';

interface Context {
  readonly source: Source;
  readonly tree: PolicyTree;
  readonly schema: SchemaNode;
}

let schemaOnce: SchemaNode | null = null;

/** Made on the first mistake and kept: it never changes, and a folder of bad policies would make it again for each. */
function knownSchema(): SchemaNode {
  schemaOnce ??= policySchema();
  return schemaOnce;
}

/** All of zod's issues as policy issues; those about values that are already reported are left out. */
export function explainIssues(source: Source, tree: PolicyTree, issues: readonly z.core.$ZodIssue[]): PolicyIssue[] {
  const context: Context = { source, tree, schema: knownSchema() };
  return issues.flatMap((issue) => {
    const path = issue.path.filter((step) => typeof step !== 'symbol');
    if (isSpoiled(tree, path)) return [];
    if (issue.code !== 'unrecognized_keys') return [explainValue(context, issue, path)];
    return issue.keys.map((key) => explainUnknownKey(context, [...path, key]));
  });
}

/** True when the value at `path`, or anything it lies in, is reported already. */
export function isSpoiled(tree: PolicyTree, path: PolicyPath): boolean {
  return path.some((_, index) => tree.spoiled.has(pathKey(path.slice(0, index + 1)))) || tree.spoiled.has(pathKey([]));
}

/** The value as the file has it; undefined when the path is not in the file. */
export function rawAt(root: unknown, path: PolicyPath): unknown {
  let value = root;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<string | number, unknown>)[step];
  }
  return value;
}

/** Where the value at `path` is; for what is missing, the key of the nearest map that should hold it. */
export function spanAt(tree: PolicyTree, path: PolicyPath): Span {
  const own = tree.spans.get(pathKey(path));
  if (own !== undefined) return own.value;
  for (let length = path.length - 1; length > 0; length -= 1) {
    const holder = tree.spans.get(pathKey(path.slice(0, length)));
    if (holder !== undefined) return holder.key ?? holder.value;
  }
  const root = tree.spans.get(pathKey([]))?.value.start ?? 0;
  return { start: root, end: root + 1 };
}

function explainUnknownKey(context: Context, path: PolicyPath): PolicyIssue {
  const spans = context.tree.spans.get(pathKey(path));
  const span = spans?.key ?? spanAt(context.tree, path);
  return issueAt(context.source, span, path, unknownKeyText(context.schema, path));
}

function unknownKeyText(schema: SchemaNode, path: PolicyPath): IssueText {
  const key = String(path.at(-1));
  const parent = path.slice(0, -1);
  if (isUnsupportedKey(formatPath(path))) {
    return { code: 'POLICY_UNSUPPORTED', message: `${key} is not supported yet`, fix: 'delete it' };
  }
  const known = Object.keys(schemaNodeAt(schema, parent)?.properties ?? {});
  const holder = parent.length === 0 ? 'a policy' : formatPath(parent);
  const message = `${quoteValue(key)} is not a key of ${holder}`;
  const meant = nearestWord(key, known);
  if (meant !== null) return { code: 'POLICY_UNKNOWN_KEY', message, fix: `did you mean ${meant}?` };
  const [place, ...others] = placesOfKey(schema, key);
  if (place !== undefined && others.length === 0) {
    return { code: 'POLICY_UNKNOWN_KEY', message, fix: `write it as ${formatPath([...place, key])}` };
  }
  return { code: 'POLICY_UNKNOWN_KEY', message, fix: `delete it, or write one of ${known.join(', ')}` };
}

function explainValue(context: Context, issue: z.core.$ZodIssue, path: PolicyPath): PolicyIssue {
  const raw = rawAt(context.tree.root, path);
  const aboutKey = issue.code === 'custom' && issue.params?.['key'] === true;
  const spans = context.tree.spans.get(pathKey(path));
  // A value that is not there has no place of its own: the key stands for it.
  const span = (aboutKey || raw === null ? spans?.key : spans?.value) ?? spanAt(context.tree, path);
  return issueAt(context.source, span, path, valueText(issue, { path, raw, node: schemaNodeAt(context.schema, path) }));
}

interface ValueAt {
  readonly path: PolicyPath;
  readonly raw: unknown;
  readonly node: SchemaNode | null;
}

function valueText(issue: z.core.$ZodIssue, at: ValueAt): IssueText {
  const { path, raw, node } = at;
  if (raw === undefined) return missingText(path, node);
  if (isUnsupportedValue(formatPath(path), raw)) {
    const fix = Array.isArray(node?.['enum']) ? `write ${node['enum'].join(' or ')}` : 'write null, or delete it';
    return { code: 'POLICY_UNSUPPORTED', message: `${formatPath(path)}: ${quoteValue(raw)} is not supported yet`, fix };
  }
  const isNull = raw === null;
  if (issue.code === 'custom') {
    const fix: unknown = issue.params?.['fix'];
    const message = isNull ? 'the value is missing' : issue.message;
    return { code: 'POLICY_VALUE', message, fix: typeof fix === 'string' ? fix : 'correct the value' };
  }
  return structureText(issue, at);
}

function missingText(path: PolicyPath, node: SchemaNode | null): IssueText {
  const description = node?.description === undefined ? '' : ` (${node.description.replace(/\.$/, '')})`;
  const key = String(path.at(-1));
  const written = exampleLine(path, node) ?? key;
  return { code: 'POLICY_MISSING', message: `${formatPath(path)} is required`, fix: `add ${written}${description}` };
}

/** The whole line to write, when the schema has an example for it. */
function exampleLine(path: PolicyPath, node: SchemaNode | null): string | null {
  const example = node?.examples?.[0];
  return example === undefined ? null : `\`${String(path.at(-1))}: ${formatExample(example)}\``;
}

function formatExample(example: unknown): string {
  if (Array.isArray(example)) return `[${example.map(formatExample).join(', ')}]`;
  if (typeof example !== 'object' || example === null) return String(example);
  const pairs = Object.entries(example).map(([key, value]) => `${key}: ${formatExample(value)}`);
  return `{ ${pairs.join(', ')} }`;
}

/** A map, list or nothing where something else belongs, or a list of the wrong length. */
function structureText(issue: z.core.$ZodIssue, at: ValueAt): IssueText {
  const code = 'POLICY_VALUE';
  const example = exampleLine(at.path, at.node);
  if (issue.code === 'too_big')
    return { code, message: 'the list is too long', fix: `write at most ${issue.maximum} entries` };
  if (issue.code === 'too_small') {
    return {
      code,
      message: 'the list is empty',
      fix: example === null ? 'write at least one entry' : `write ${example}`,
    };
  }
  const isList = issue.code === 'invalid_type' && issue.expected === 'array';
  if (at.raw === null) {
    const fix = example === null ? `${structureFix(at, isList)}, or delete the key` : `write ${example}`;
    return { code, message: 'the value is missing', fix };
  }
  return { code, message: `${quoteValue(at.raw)} is not a ${isList ? 'list' : 'map'}`, fix: structureFix(at, isList) };
}

function structureFix({ raw, node }: ValueAt, isList: boolean): string {
  if (isList)
    return typeof raw === 'string' || typeof raw === 'number' ? `write [${raw}]` : 'write a list such as [a, b]';
  const keys = Object.keys(node?.properties ?? {});
  if (keys.length === 0) return 'write `name: value` pairs below it';
  return `write its keys below it, indented (${keys.join(', ')})`;
}
