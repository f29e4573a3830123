/**
 * `npm run check:simulation`: fixed seeds, so that what held goes on holding, some of them twice with equal digests, and as many
 * fresh ones as the time allows, which are printed. `npm run chaos -- --for 2h` is fresh seeds alone; without `--for` until Ctrl-C.
 * Exit code 1 on a violation; each comes with the command that plays it again.
 */
import { runCampaign, type CampaignOptions, type CampaignReport } from '../../src/chaos/campaign.ts';
import { parseDuration } from '../../src/model/units.ts';

const HOURS = 3;
const FIXED = { first: 1, last: 8 };
const TWICE = { first: 1, last: 1 };
/** For the fresh ones. */
const CHECK_MS = 30_000;
const FRESH_MAX = 1_000_000;

const asked = process.argv.indexOf('--for');
const endless = process.argv.includes('--endless');
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
process.once('SIGTERM', () => stop.abort());
const reports: CampaignReport[] = [];
if (!endless) {
  reports.push(await run('fixed seeds', { seeds: FIXED }));
  reports.push(await run('seeds run twice', { seeds: TWICE, repeat: 2, hours: 1 }));
}
const first = 1_000 + (Math.floor(Date.now() / 1000) % FRESH_MAX);
reports.push(await run('fresh seeds', { seeds: { first, last: first + FRESH_MAX }, budgetMs: freshMs() }));
const violations = reports.reduce((sum, report) => sum + report.violations, 0);
process.exitCode = violations === 0 ? 0 : 1;

function freshMs(): number | null {
  if (asked < 0) return endless ? null : CHECK_MS;
  const parsed = parseDuration(process.argv[asked + 1] ?? '');
  if (!parsed.ok) throw new Error(`--for ${process.argv[asked + 1] ?? ''} is no duration: write 90s, 10m or 2h`);
  return parsed.value;
}

async function run(
  what: string,
  options: Pick<CampaignOptions, 'seeds'> & Partial<CampaignOptions>,
): Promise<CampaignReport> {
  const report = await runCampaign({
    hours: HOURS,
    only: null,
    signal: stop.signal,
    // A check ends with the first violation, and shrinks it; who searches on purpose wants all of them.
    untilViolation: !endless,
    ...options,
  });
  const last = options.seeds.first + report.seeds - 1;
  process.stdout.write(
    `${what} ${options.seeds.first}..${last}: ${report.simulatedHours} h, ${report.faultsInjected} faults, ${report.violations} violations, digest ${report.digest}, ${report.tookS} s\n`,
  );
  for (const { seed, message, faults } of report.failures) {
    process.stdout.write(`  seed ${seed}: ${message}\n`);
    process.stdout.write(
      `  again: spillway simulate chaos --seeds ${seed} --hours ${options.hours ?? HOURS} --faults '${faults.join(',')}'\n`,
    );
  }
  return report;
}
