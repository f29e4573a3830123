/**
 * `npm run reliability -- --seeds 1..200 --hours 5`: a campaign, and what is on record of the planted bugs, as docs/reliability.json;
 * `npm run generate` then writes README's table from it. Exit code 1 on a violation, which is written all the same.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { runCampaign } from '../../src/chaos/campaign.ts';
import { findRunner } from '../../src/store/embedded-runner.ts';
import { MUTANTS } from '../mutants/mutants.ts';
import { type Kill, makeReport } from './reliability-report.ts';

const REPORT_FILE = new URL('../../docs/reliability.json', import.meta.url);
const KILLED_FILE = new URL('../mutants/killed.json', import.meta.url);

const seedsText = wordAfter('--seeds') ?? '1..20';
const hours = Number(wordAfter('--hours') ?? '5');
const [first = Number.NaN, last = first] = seedsText.split('..').map(Number);
if (!Number.isInteger(first) || !Number.isInteger(last) || first > last || !(hours > 0)) {
  throw new Error('usage: npm run reliability -- --seeds A..B --hours N');
}
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
const campaign = await runCampaign({
  seeds: { first, last },
  hours,
  only: null,
  signal: stop.signal,
  onSeed: ({ result, finished, wanted }) => {
    const verdict = result.violation === null ? 'ok' : `VIOLATION ${result.violation.rule}`;
    process.stderr.write(`${finished}/${wanted}  seed ${result.seed}  ${result.faults.length} faults  ${verdict}\n`);
  },
});
// Half a campaign is no report.
if (stop.signal.aborted) process.exit(130);
const report = makeReport(campaign, {
  command: `npm run reliability -- --seeds ${seedsText} --hours ${hours}`,
  planted: MUTANTS.map(({ name }) => name),
  kills: JSON.parse(await readFile(KILLED_FILE, 'utf8')) as Readonly<Record<string, Kill>>,
  postgres: (await findRunner()).majorVersion,
});
await writeFile(REPORT_FILE, `${JSON.stringify(report, null, 2)}\n`);
process.stdout.write(
  `${report.simulatedHours} h, ${report.faults.total} faults, ${report.violations} violations: docs/reliability.json is written, now \`npm run generate\`\n`,
);
process.exitCode = report.violations === 0 ? 0 : 1;

function wordAfter(name: string): string | null {
  const at = process.argv.indexOf(name);
  return at < 0 ? null : (process.argv[at + 1] ?? null);
}
