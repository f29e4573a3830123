import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import type { CampaignReport } from '../../src/chaos/campaign.ts';
import { makeReport, type ReliabilityReport, withReliabilityTable } from './reliability-report.ts';

const CAMPAIGN: CampaignReport = {
  seeds: 200,
  simulatedHours: 1012.4,
  faultsInjected: 70_000,
  faultsByKind: { drop: 40_000, lose: 30_000 },
  transitionsCovered: 20,
  transitionsTotal: 21,
  transitionsMissing: ['leaving>terminated'],
  statements: 14_000_000,
  violations: 1,
  failures: [{ seed: 7, rule: 'ledger', message: 'ledger: a cent too many', faults: ['a#1:drop'] }],
  slowestRecoveryMinutes: 31,
  digest: '0123456789abcdef',
  tookS: 1800,
};
const BY_SEED = { seed: 3, rule: 'one-decider' };
const BY_TEST = { seed: null, rule: 'test/fence.test.ts' };
const REPORT = makeReport(CAMPAIGN, {
  command: 'npm run reliability',
  planted: ['no-fence', 'no-fence-of-rows', 'unseen'],
  kills: { 'no-fence': BY_SEED, 'no-fence-of-rows': BY_TEST, 'long-gone': { seed: 1, rule: 'limit' } },
  postgres: 18,
});
const MARKED = [
  'before',
  '<!-- reliability: written by `npm run generate` from docs/reliability.json -->',
  'old',
  '<!-- /reliability -->',
  'after',
];

test('the report names the planted bugs that somebody notices and those that nobody does, and no others', () => {
  expect(REPORT.mutants).toEqual({
    planted: 3,
    killed: 2,
    bySeed: 1,
    kills: { 'no-fence': BY_SEED, 'no-fence-of-rows': BY_TEST },
    unnoticed: ['unseen'],
  });
});

test('the table stands between its markers, and nothing else changes', () => {
  const text = withReliabilityTable(MARKED.join('\n'), REPORT);
  expect(text.startsWith('before\n<!-- rel')).toBe(true);
  expect(text.endsWith('<!-- /reliability -->\nafter')).toBe(true);
  expect(text).not.toContain('old');
  expect(text).toContain('| simulated hours | 1,012.4, 200 seeds |');
  expect(text).toContain('| faults | 70,000 of 2 kinds |');
  expect(text).toContain('| broken promises | 1 |');
  expect(text).toContain('| transitions of a machine seen | 20 of 21 |');
  expect(text).toContain('| planted bugs noticed | 2 of 3: 1 by a seed of the simulation, 1 by a test |');
  expect(withReliabilityTable(text, REPORT)).toBe(text);
});

test.each([[MARKED.slice(0, 3)], [[...MARKED, ...MARKED]]])('a text without its two markers is refused', (lines) => {
  expect(() => withReliabilityTable(lines.join('\n'), REPORT)).toThrow('once each');
});

test('the report in docs/ tells how it came about', async () => {
  const file = new URL('../../docs/reliability.json', import.meta.url);
  const report = JSON.parse(await readFile(file, 'utf8')) as ReliabilityReport;
  expect(report.command).toMatch(/^npm run reliability -- --seeds \d+\.\.\d+ --hours \d+(?:\.\d+)?$/);
  expect(report.violations).toBe(report.failures.length);
});
