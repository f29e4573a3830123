import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { policySchema, renderPolicySchema, schemaNodeAt } from '../../src/policy/json-schema.ts';
import type { SchemaNode } from '../../src/policy/json-schema.ts';
import { POLICY_TEXT, edited } from './documents.ts';

describe('the JSON Schema of policies', () => {
  test('is the file that editors read; `npm run generate` writes it', () => {
    const file = readFileSync(new URL('../../docs/policy-schema.json', import.meta.url), 'utf8');
    expect(file).toBe(renderPolicySchema());
  });

  test('describes every key', () => {
    const bare: string[] = [];
    const visit = (node: SchemaNode, path: string): void => {
      if (node.description === undefined) bare.push(path);
      for (const [key, child] of Object.entries(node.properties ?? {})) visit(child, `${path}.${key}`);
      for (const member of node.anyOf ?? []) {
        for (const [key, child] of Object.entries(member.properties ?? {})) visit(child, `${path}.${key}`);
      }
    };
    for (const [key, child] of Object.entries(policySchema().properties ?? {})) visit(child, key);
    expect(bare).toEqual([]);
  });

  test('knows defaults, words and required keys for completion', () => {
    const at = (...path: string[]) => schemaNodeAt(policySchema(), path);
    expect(at('spec', 'drain', 'deadline')).toMatchObject({ type: 'string', default: '30m' });
    expect(at('spec', 'drain', 'onDeadline')).toMatchObject({ enum: ['wait', 'extend', 'terminate'], default: 'wait' });
    expect(at('spec', 'burst', 'limits', 'max')).toMatchObject({ type: 'integer', minimum: 0, default: 10 });
    expect(policySchema().required).toEqual(['apiVersion', 'kind', 'metadata', 'spec']);
    expect(at('spec')?.required).toEqual(['burst', 'join']);
    expect(at('spec', 'burst')?.required).toEqual(['region', 'subnets', 'image', 'budget']);
  });

  test.each([
    ['the sample', readFileSync(new URL('../../policies/example.yaml.sample', import.meta.url), 'utf8'), true],
    ['the policy of the tests', POLICY_TEXT, true],
    ['an unknown key', edited('max: 4', 'max: 4, maximum: 4'), false],
    ['a key of a later version', edited('hourly: 40', 'hourly: 40, daily: 3'), false],
    ['a duration without a unit', edited('60s', '60'), false],
    ['a size in GB', edited('4GiB', '4GB'), false],
    ['a missing key', edited('    region: eu-central-1\n', ''), false],
    ['a missing section', POLICY_TEXT.slice(0, POLICY_TEXT.indexOf('  join:')), false],
    [
      'a budget in per cent and one in machines',
      edited('20m }', '20m, budgets: [{ machines: 5% }, { machines: 0 }] }'),
      true,
    ],
    ['a budget in words', edited('20m }', '20m, budgets: [{ machines: few }] }'), false],
    ['a hold that follows from the start', edited('20m }', '20m, scaleDownUnneededTime: auto }'), true],
    ['a word that is not known', edited('20m }', '20m, onDeadline: kill }'), false],
  ])('judges as the parser does: %s', (_, text, valid) => {
    const schema = z.fromJSONSchema(policySchema());
    expect(schema.safeParse(parse(text)).success).toBe(valid);
  });
});
