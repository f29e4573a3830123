/**
 * `npm run reliability [-- --seeds 1..200 --hours 5 --mutants FILE]`: the long run before a release. Writes docs/reliability.json: what was
 * simulated, what went wrong in it, what was found. README's table is made from it (`npm run generate`).
 */
import { writeFile } from 'node:fs/promises';
import { readFile } from 'node:fs/promises';
import { runCampaign } from '../../src/chaos/campaign.ts';
import { TRANSITION_CASES } from '../jobs/transition-cases.ts';
import { MUTANTS } from '../mutants/mutants.ts';

const TARGET = new URL('../../docs/reliability.json', import.meta.url);
const KILLED = new URL('../mutants/killed.json', import.meta.url);

const { first, last } = parseSeeds(wordAfter('--seeds') ?? '1..200');
const hours = Number(wordAfter('--hours') ?? 5);
const report = await runCampaign({
  seeds: { first, last },
  hours,
  only: null,
  onSeed: ({ finished, wanted, result }) =>
    process.stderr.write(`${finished}/${wanted} seed ${result.seed} ${result.violation?.rule ?? 'ok'}\n`),
});
const killed = Object.keys(JSON.parse(await readFile(KILLED, 'utf8')) as object);
const document = {
  command: `npm run reliability -- --seeds ${first}..${last} --hours ${hours}`,
  simulatedHours: report.simulatedHours,
  seeds: report.seeds,
  statements: report.statements,
  tookS: report.tookS,
  simulatedHoursIn10Minutes: Math.round((report.simulatedHours / report.tookS) * 600),
  violations: report.violations,
  faults: report.faultsInjected,
  faultsByKind: report.faultsByKind,
  transitionsInSimulation: {
    covered: report.transitionsCovered,
    total: report.transitionsTotal,
    missing: report.transitionsMissing,
  },
  transitionCases: TRANSITION_CASES.length,
  mutants: { killed: MUTANTS.filter(({ name }) => killed.includes(name)).length, total: MUTANTS.length },
  slowestRecoveryMinutes: report.slowestRecoveryMinutes,
  digest: report.digest,
};
await writeFile(TARGET, `${JSON.stringify(document, null, 2)}\n`);
process.stdout.write(
  `${report.simulatedHours} h, ${report.violations} violations, ${report.tookS} s; wrote docs/reliability.json\n`,
);
for (const { seed, message } of report.failures) process.stdout.write(`  seed ${seed}: ${message}\n`);
process.exitCode = report.violations === 0 ? 0 : 1;

function wordAfter(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

function parseSeeds(text: string): { readonly first: number; readonly last: number } {
  const found = /^(\d+)\.\.(\d+)$/.exec(text);
  if (found === null) throw new Error(`--seeds ${text} is no range: write 1..200`);
  return { first: Number(found[1]), last: Number(found[2]) };
}
