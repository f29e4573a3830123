import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { renderIamPolicy } from '../../src/simulator/iam.ts';
import { ROOT } from './unit-file.ts';

const readme = readFileSync(`${ROOT}infra/README.md`, 'utf8');
const policy = readFileSync(`${ROOT}infra/iam-policy.json`, 'utf8');

test('the README renders the IAM policy to what the simulated region enforces', () => {
  const line = readme.split('\n').find((candidate) => candidate.startsWith('sed '));
  // To standard output instead of to a file.
  const command = line?.replace(/ > \S+$/, '') ?? '';
  const rendered = execFileSync('/bin/sh', ['-c', command], { cwd: ROOT, encoding: 'utf8' });
  const place = { region: 'eu-central-1', accountId: '123456789012', owner: 'spillway-prod' };
  expect(rendered).toBe(renderIamPolicy(policy, place));
  expect(rendered).not.toContain('${');
});

test('the README names the only role that the IAM policy passes', () => {
  const roles = [...policy.matchAll(/:role\/([a-z-]+)/g)].map(([, role]) => role);
  expect(roles).toStrictEqual(['spillway-agent']);
  expect(readme).toContain('burst.instanceProfile: spillway-agent');
});

test('every file of the README is there', () => {
  const files = [...readme.matchAll(/^\| `([^`]+)` \|/gm)].map(([, file]) => file ?? '');
  expect(files).toStrictEqual([
    'iam-policy.json',
    'systemd/spillway.service',
    'systemd/spillway-agent.service',
    'compose.yaml',
  ]);
  expect(files.filter((file) => !existsSync(`${ROOT}infra/${file}`))).toStrictEqual([]);
});
