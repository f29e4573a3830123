/**
 * Reads requests and writes answers of EC2's Query protocol by the SDK's own schemas, so that what goes over the wire
 * has the names the SDK sends and expects, and no name is written twice.
 */
import assert from 'node:assert/strict';
import { Ec2Error } from '../ec2-error.ts';

/**
 * The SDK's static schemas. Numbers are simple types (64 = list of, 128 = map of); arrays begin with a kind
 * (0 simple, 1 list, 3 structure, 9 operation), then namespace, name, traits; functions defer references between them.
 */
type Schema = unknown;
type Traits = Readonly<Record<string, unknown>>;

const SIMPLE = 0;
const LIST = 1;
const STRUCTURE = 3;
const OPERATION = 9;
const NUMBER = 1;
const BOOLEAN = 2;
const TIMESTAMPS: readonly number[] = [4, 5, 6, 7];
const LIST_OF = 64;

interface Member {
  readonly name: string;
  readonly schema: Schema;
  /** Name in a request: its own trait, or the XML name or member name with a capital letter. */
  readonly queryName: string;
  readonly xmlName: string;
}

type Shape =
  | { readonly kind: 'simple'; readonly code: number }
  | { readonly kind: 'list'; readonly item: Schema; readonly itemName: string }
  | { readonly kind: 'structure'; readonly members: readonly Member[] };

/** Request and answer of an operation schema such as the SDK's `RunInstances$`. */
export function shapesOf(operation: Schema): { readonly input: Schema; readonly output: Schema } {
  assert(Array.isArray(operation) && operation[0] === OPERATION, 'not an operation schema');
  return { input: deref(operation[4]), output: deref(operation[5]) };
}

function deref(schema: Schema): Schema {
  return typeof schema === 'function' ? (schema as () => Schema)() : schema;
}

/** A reference is a schema, or a pair of schema and traits. */
function unwrap(reference: Schema): { readonly schema: Schema; readonly traits: Traits } {
  if (Array.isArray(reference) && reference.length === 2) {
    const traits: unknown = reference[1];
    return {
      schema: deref(reference[0]),
      traits: typeof traits === 'object' && traits !== null ? (traits as Traits) : {},
    };
  }
  return { schema: deref(reference), traits: {} };
}

const shapes = new Map<Schema, Shape>();

function shapeOf(schema: Schema): Shape {
  const known = shapes.get(schema);
  if (known !== undefined) return known;
  const shape = readShape(schema);
  shapes.set(schema, shape);
  return shape;
}

function readShape(schema: Schema): Shape {
  if (typeof schema === 'number') {
    return schema >= LIST_OF
      ? { kind: 'list', item: schema - LIST_OF, itemName: 'member' }
      : { kind: 'simple', code: schema };
  }
  if (schema === 'unit') return { kind: 'structure', members: [] };
  assert(Array.isArray(schema), `unknown schema: ${String(schema)}`);
  const [kind, , , , fourth, fifth] = schema as unknown[];
  if (kind === SIMPLE) return shapeOf(deref(fourth));
  if (kind === LIST) {
    const { schema: item, traits } = unwrap(fourth);
    return { kind: 'list', item, itemName: text(traits['xmlName']) ?? 'member' };
  }
  assert(kind === STRUCTURE && Array.isArray(fourth) && Array.isArray(fifth), `unknown schema kind: ${String(kind)}`);
  const names = fourth as string[];
  return { kind: 'structure', members: names.map((name, index) => readMember(name, (fifth as unknown[])[index])) };
}

function readMember(name: string, reference: Schema): Member {
  const { schema, traits } = unwrap(reference);
  const xmlName = text(traits['xmlName']);
  const spoken = xmlName ?? name;
  const queryName = text(traits['ec2QueryName']) ?? `${spoken.slice(0, 1).toUpperCase()}${spoken.slice(1)}`;
  return { name, schema, queryName, xmlName: spoken };
}

function text(trait: unknown): string | undefined {
  return typeof trait === 'string' ? trait : undefined;
}

/** A form as a tree: `Filter.1.Name=x` is `Filter` > `1` > `Name` with the text x. */
export interface FormNode {
  readonly children: Map<string, FormNode>;
  text: string | null;
}

/** Enough for the largest request EC2 takes (1,000 ids, 200 values per filter), and a bound for hostile ones. */
const FIELDS_MAX = 10_000;
const DEPTH_MAX = 12;

/** Parses an `application/x-www-form-urlencoded` body. */
export function parseForm(body: string): FormNode {
  const root: FormNode = { children: new Map(), text: null };
  let fields = 0;
  for (const [key, value] of new URLSearchParams(body)) {
    fields += 1;
    const path = key.split('.');
    if (fields > FIELDS_MAX || path.length > DEPTH_MAX)
      throw new Ec2Error('InvalidParameterValue', 'The request is too large');
    let node = root;
    for (const part of path) {
      const child = node.children.get(part) ?? { children: new Map(), text: null };
      node.children.set(part, child);
      node = child;
    }
    node.text = value;
  }
  return root;
}

/** Reads a request. Names outside the schema are refused, as EC2 does. `ignored` holds those of the protocol itself. */
export function readRequest(schema: Schema, node: FormNode, ignored: readonly string[] = []): unknown {
  return readNode(schema, node, { path: '', ignored });
}

function readNode(schema: Schema, node: FormNode, at: { path: string; ignored: readonly string[] }): unknown {
  const shape = shapeOf(schema);
  switch (shape.kind) {
    case 'simple':
      return readText(shape.code, node.text ?? '', at.path);
    case 'list':
      return [...node.children]
        .toSorted(([a], [b]) => Number(a) - Number(b))
        .map(([index, child]) => {
          if (!/^\d+$/.test(index)) throw unknownParameter(`${at.path}${index}`);
          return readNode(shape.item, child, { path: `${at.path}${index}.`, ignored: [] });
        });
    case 'structure': {
      const result: Record<string, unknown> = {};
      for (const [key, child] of node.children) {
        if (at.ignored.includes(key)) continue;
        const member = shape.members.find(({ queryName }) => queryName === key);
        if (member === undefined) throw unknownParameter(`${at.path}${key}`);
        result[member.name] = readNode(member.schema, child, { path: `${at.path}${key}.`, ignored: [] });
      }
      return result;
    }
  }
}

function unknownParameter(name: string): Ec2Error {
  return new Ec2Error('UnknownParameter', `The parameter ${name} is not recognized`);
}

function readText(code: number, value: string, path: string): unknown {
  const name = path.replace(/\.$/, '');
  if (code === NUMBER) {
    const number = Number(value);
    if (value.trim() === '' || !Number.isFinite(number)) {
      throw new Ec2Error('InvalidParameterValue', `Invalid value '${value}' for ${name}. Expected a number.`);
    }
    return number;
  }
  if (code === BOOLEAN) {
    if (value !== 'true' && value !== 'false') {
      throw new Ec2Error('InvalidParameterValue', `Invalid value '${value}' for ${name}. Expected true or false.`);
    }
    return value === 'true';
  }
  if (TIMESTAMPS.includes(code)) {
    const date = new Date(value);
    if (Number.isNaN(date.getTime()))
      throw new Ec2Error('InvalidParameterValue', `Invalid time '${value}' for ${name}.`);
    return date;
  }
  return value;
}

/** Writes the inside of an answer. Undefined members are left out; an empty list is an empty element. */
export function writeAnswer(schema: Schema, value: unknown): string {
  if (value === undefined || value === null) return '';
  const shape = shapeOf(schema);
  switch (shape.kind) {
    case 'simple':
      return escapeXml(value instanceof Date ? value.toISOString() : `${value as string | number | boolean}`);
    case 'list':
      return (value as readonly unknown[])
        .map((item) => `<${shape.itemName}>${writeAnswer(shape.item, item)}</${shape.itemName}>`)
        .join('');
    case 'structure': {
      const members = value as Readonly<Record<string, unknown>>;
      return shape.members
        .filter(({ name }) => members[name] !== undefined && members[name] !== null)
        .map(({ name, schema, xmlName }) => `<${xmlName}>${writeAnswer(schema, members[name])}</${xmlName}>`)
        .join('');
    }
  }
}

const XML_ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Text for XML; control characters, most of which XML 1.0 cannot carry, become U+FFFD. */
export function escapeXml(value: string): string {
  return value.replaceAll(/[&<>"]/g, (char) => XML_ESCAPES[char] ?? char).replaceAll(/[^\P{Cc}\t\n\r]/gu, '\uFFFD');
}
