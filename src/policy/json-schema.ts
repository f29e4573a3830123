/** The JSON Schema that editors use, made from the one schema that the parser uses. */
import { z } from 'zod';
import type { PolicyPath } from './source.ts';
import { documentSchema } from './schema.ts';

/** One node of the JSON Schema; only the words that `z.toJSONSchema` writes for policies. */
export interface SchemaNode {
  description?: string;
  default?: unknown;
  examples?: unknown[];
  properties?: Record<string, SchemaNode>;
  required?: string[];
  items?: SchemaNode;
  anyOf?: SchemaNode[];
  additionalProperties?: boolean | SchemaNode;
  [word: string]: unknown;
}

/** Draft 7, because that is what the YAML extensions of editors speak. A new object on every call. */
export function policySchema(): SchemaNode {
  // zod's type is of every draft at once; one was asked for, and only its plain objects are walked.
  const made = z.toJSONSchema(documentSchema, {
    io: 'input',
    target: 'draft-07',
    // Examples are of what is written, which zod cannot know of a schema that transforms: it drops them.
    override: ({ zodSchema, jsonSchema }) => {
      const examples = z.globalRegistry.get(zodSchema)?.['examples'];
      if (Array.isArray(examples)) jsonSchema.examples = examples;
    },
  }) as unknown as SchemaNode;
  const { $schema, ...rest } = made;
  tidy(rest);
  return {
    $schema,
    $id: 'https://spillway.dev/schemas/workload-policy-v1.json',
    title: 'Spillway WorkloadPolicy',
    ...rest,
  };
}

function tidy(node: SchemaNode): void {
  const { properties = {}, items, anyOf = [] } = node;
  for (const child of Object.values(properties)) tidy(child);
  for (const member of anyOf) tidy(member);
  if (items !== undefined) tidy(items);
  requireSections(node, properties);
  // Editors look for the description of a nullable section on the section, not in its members.
  const described = anyOf.find((member) => member.description !== undefined)?.description;
  if (described !== undefined) node.description ??= described;
}

/** The text of `docs/policy-schema.json`. */
export function renderPolicySchema(): string {
  return `${JSON.stringify(policySchema(), null, 2)}\n`;
}

/**
 * Sections default to empty for the parser's sake. An editor should rather hear that a section is required when
 * something in it is, and nothing at all when not.
 */
function requireSections(node: SchemaNode, properties: Record<string, SchemaNode>): void {
  for (const [key, child] of Object.entries(properties)) {
    if (JSON.stringify(child.default) !== '{}') continue;
    delete child.default;
    if ((child.required ?? []).length > 0 || child['minProperties'] === 1)
      node.required = [...(node.required ?? []), key];
  }
}

/** The node that describes `path`, or null where the schema knows no such key. */
export function schemaNodeAt(root: SchemaNode, path: PolicyPath): SchemaNode | null {
  let node: SchemaNode = root;
  for (const step of path) {
    const next: SchemaNode | null = typeof step === 'number' ? (node.items ?? null) : childNode(node, step);
    if (next === null) return null;
    node = next.anyOf?.[0] ?? next;
  }
  return node;
}

function childNode(node: SchemaNode, key: string): SchemaNode | null {
  const properties = node.properties ?? {};
  if (Object.hasOwn(properties, key)) return properties[key] ?? null;
  return typeof node.additionalProperties === 'object' ? node.additionalProperties : null;
}

/** Every place of the schema where a key of this name may stand, without the key itself. */
export function placesOfKey(root: SchemaNode, key: string): PolicyPath[] {
  const places: PolicyPath[] = [];
  const visit = (node: SchemaNode, path: readonly string[]): void => {
    if (Object.hasOwn(node.properties ?? {}, key)) places.push(path);
    for (const [name, child] of Object.entries(node.properties ?? {}))
      visit(child.anyOf?.[0] ?? child, [...path, name]);
  };
  visit(root, []);
  return places;
}
