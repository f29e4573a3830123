import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parsePolicy } from '../../src/policy/parse.ts';
import { POLICY_TEXT, edited } from './documents.ts';
import { issueLines, issuesOf } from './mistakes.ts';

describe('keys of a later version', () => {
  test.each([
    ['launch template', 'limits:', 'launchTemplate: lt-1\n    limits:', '12:5', 'spec.burst.launchTemplate'],
    ['group', 'limits:', 'autoScalingGroup: g\n    limits:', '12:5', 'spec.burst.autoScalingGroup'],
    [
      'strategy',
      'limits:',
      'market: { allocationStrategy: x }\n    limits:',
      '12:15',
      'spec.burst.market.allocationStrategy',
    ],
    ['gpus', 'limits:', 'instances: { gpus: 1..4 }\n    limits:', '12:18', 'spec.burst.instances.gpus'],
    ['daily', 'hourly: 40', 'hourly: 40, daily: 300', '13:27', 'spec.burst.budget.daily'],
    ['monthly', 'hourly: 40', 'hourly: 40, monthly: 300', '13:27', 'spec.burst.budget.monthly'],
    ['action', 'hourly: 40', 'hourly: 40, action: freeze', '13:27', 'spec.burst.budget.action'],
    ['approval', '  drain:', '  approval: { aboveHourly: 20 }\n  drain:', '16:3', 'spec.approval'],
    ['expiry', '  drain:', '  expireAfter: 720h\n  drain:', '16:3', 'spec.expireAfter'],
    ['dry run', '  drain:', '  dryRun: true\n  drain:', '16:3', 'spec.dryRun'],
    ['paused', '  drain:', '  paused: true\n  drain:', '16:3', 'spec.paused'],
    ['source', '{ task', '{ source: slurm, task', '7:22', 'spec.demand.queue.source'],
    ['shared queue', '{ task', '{ name: shared, task', '7:20', 'spec.demand.queue.name'],
  ])('are refused by name: %s', (_, passage, replacement, place, keyPath) => {
    const issues = issuesOf(edited(passage, replacement));
    expect(issues).toHaveLength(1);
    const [issue] = issues;
    expect(issue).toMatchObject({ code: 'POLICY_UNSUPPORTED', path: keyPath });
    expect(`${issue?.line}:${issue?.column}`).toBe(place);
    expect(issue?.message).toMatch(/is not supported yet$/);
  });
});

describe('several mistakes', () => {
  test('are all reported, in the order of the lines', () => {
    const text = POLICY_TEXT.replace('60s', '60')
      .replace('eu-central-1', 'eu')
      .replace('max: 4', 'max: 0, vcpu: 3')
      .replace('20m', 'soon');
    expect(issuesOf(text).map((issue) => `${issue.line}:${issue.column} ${issue.code}`)).toEqual([
      '7:55 POLICY_VALUE',
      '9:13 POLICY_VALUE',
      '12:20 POLICY_CONFLICT',
      '12:31 POLICY_UNKNOWN_KEY',
      '16:22 POLICY_VALUE',
    ]);
  });

  test('an empty document names every required key, not only the first section', () => {
    expect(issuesOf('{}').map((issue) => issue.path)).toEqual([
      'apiVersion',
      'kind',
      'metadata.name',
      'spec.burst.region',
      'spec.burst.subnets',
      'spec.burst.image',
      'spec.burst.budget.hourly',
      'spec.join.ssh.identity.file',
    ]);
  });

  test.each([[''], ['# only a comment\n'], ['\n\n'], ['null'], ['~ # nothing'], ['---\n']])(
    'an empty file says so: %j',
    (text) => {
      expect(issueLines(text)).toEqual([
        '1:1 POLICY_MISSING  | the file is empty | write a policy; `spillway policy schema` prints its form',
      ]);
    },
  );

  test('are at most one hundred', () => {
    const keys = Array.from({ length: 500 }, (_, index) => `unknown${index}: 1`);
    expect(issuesOf(keys.join('\n'))).toHaveLength(100);
  });
});

describe('files that a policy names', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'spillway-policy-'));
    mkdirSync(path.join(folder, 'join.d'));
    writeFileSync(path.join(folder, 'id'), 'key');
    writeFileSync(path.join(folder, 'join.sh'), '#!/bin/sh\n');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const withFiles = (script: string, key: string) =>
    edited('file: /etc/spillway/id', `file: ${key}`).replace('  join:', `  join:\n    recipe: { script: ${script} }`);

  test('are found beside the policy', () => {
    const file = path.join(folder, 'p.yaml');
    const result = parsePolicy(withFiles('join.sh', './id'), { file });
    expect(result).toMatchObject({
      ok: true,
      policy: {
        join: { recipe: { script: path.join(folder, 'join.sh') }, ssh: { identityFile: path.join(folder, 'id') } },
      },
    });
  });

  test('are reported at their key when they are missing or no files', () => {
    const file = path.join(folder, 'p.yaml');
    const result = parsePolicy(withFiles('join.d', 'nokey'), { file });
    const issues = result.ok ? [] : result.issues;
    expect(issues.map((issue) => `${issue.line}:${issue.column} ${issue.code} ${issue.message}`)).toEqual([
      `15:23 POLICY_FILE_MISSING the script ${path.join(folder, 'join.d')} is not a file`,
      `16:43 POLICY_FILE_MISSING the private key ${path.join(folder, 'nokey')} does not exist`,
    ]);
  });

  test('of a recipe are found beside the policy, and reported one by one', () => {
    const file = path.join(folder, 'p.yaml');
    const withList = (list: string) =>
      withFiles('join.sh', './id').replace('script: join.sh', `script: join.sh, files: ${list}`);
    expect(parsePolicy(withList('[./id]'), { file })).toMatchObject({
      ok: true,
      policy: { join: { recipe: { files: [path.join(folder, 'id')] } } },
    });
    const result = parsePolicy(withList('[id, gone, join.d]'), { file });
    const issues = result.ok ? [] : result.issues;
    expect(issues.map((issue) => `${issue.line}:${issue.column} ${issue.code} ${issue.message}`)).toEqual([
      `15:44 POLICY_FILE_MISSING the file ${path.join(folder, 'gone')} does not exist`,
      `15:50 POLICY_FILE_MISSING the file ${path.join(folder, 'join.d')} is not a file`,
    ]);
  });

  test('are not looked for when files are not to be checked', () => {
    expect(issueLines(withFiles('nowhere.sh', 'nokey'))).toEqual([]);
  });
});
