import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import type { CampaignReport } from '../../src/chaos/campaign.ts';
import { MUTANTS } from '../mutants/mutants.ts';
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
const REPORT = makeReport(CAMPAIGN, {
  command: 'npm run reliability',
  planted: ['no-fence', 'unseen'],
  kills: { 'no-fence': { seed: 3, rule: 'one-decider' }, 'long-gone': { seed: 1, rule: 'limit' } },
  postgres: 18,
});
const MARKED = [
  'before',
  '<!-- reliability: written by `npm run generate` from docs/reliability.json -->',
  'old',
  '<!-- /reliability -->',
  'after',
];

test('the report names the planted bugs that a seed notices and those that none does, and no others', () => {
  expect(REPORT.mutants).toEqual({
    planted: 2,
    killed: 1,
    kills: { 'no-fence': { seed: 3, rule: 'one-decider' } },
    withoutSeed: ['unseen'],
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
  expect(text).toContain('| planted bugs noticed | 1 of 2 |');
  expect(withReliabilityTable(text, REPORT)).toBe(text);
});

test.each([[MARKED.slice(0, 3)], [[...MARKED, ...MARKED]]])('a text without its two markers is refused', (lines) => {
  expect(() => withReliabilityTable(lines.join('\n'), REPORT)).toThrow('once each');
});

test('the report in docs/ is about planted bugs that exist, and tells how it came about', async () => {
  const file = new URL('../../docs/reliability.json', import.meta.url);
  const report = JSON.parse(await readFile(file, 'utf8')) as ReliabilityReport;
  const names = MUTANTS.map(({ name }) => name);
  for (const name of Object.keys(report.mutants.kills)) expect(names).toContain(name);
  expect(report.command).toMatch(/^npm run reliability -- --seeds \d+\.\.\d+ --hours \d+$/);
  expect(report.violations).toBe(report.failures.length);
});
