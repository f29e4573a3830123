import { AppError } from '../../model/errors.ts';
import { parseDuration } from '../../model/units.ts';
import { EXIT_INTERRUPTED } from '../exit-codes.ts';
import type { Options } from '../options.ts';
import { parseUnit, usage } from '../options.ts';
import type { Output } from '../output/output.ts';
import type { ChaosReport, ChaosRequest, CommandSpec } from '../types.ts';

const SEEDS_MAX = 1_000_000;
const FAULTS_SHOWN = 8;

export const simulateChaos: CommandSpec = {
  path: 'simulate chaos',
  summary: 'Run the whole service in a simulated world where everything fails, and check that its promises hold',
  description:
    'Planner, loops, machine steps and SQL are the real ones, on real Postgres sessions that a seeded schedule drives one statement at a time, on a virtual clock; EC2, SSH, agents and queue are simulated. Each seed is another world with other faults: processes killed or stopped at any await, calls lost before or after their effect, failovers that forget commits, silent agents. The same seed gives the same digest. A violation is shrunk to the faults it needs. Needs nothing but this package: each core gets an embedded Postgres.',
  options: [
    { name: 'seeds', value: 'A..B', summary: 'which worlds; one number is one world', default: '1..20' },
    { name: 'hours', value: 'N', summary: 'simulated hours with faults, per seed', default: '5' },
    { name: 'faults', value: 'IDS', summary: 'only these faults, comma-separated, as a violation names them' },
    { name: 'shards', value: 'N', summary: 'processes at a time; else one per core' },
    { name: 'repeat', value: 'N', summary: 'run each seed so often and compare the digests', default: '1' },
    { name: 'for', value: 'DURATION', summary: 'begin no further seed after this time; else all of them' },
    { name: 'fail-fast', summary: 'end with the first violation' },
    { name: 'no-shrink', summary: 'tell all faults of a failing seed instead of the few it needs' },
    {
      name: 'postgres',
      value: 'URL',
      summary: 'a superuser on a server used for nothing else; one shard, no embedded Postgres',
    },
  ],
  examples: [
    {
      command: 'spillway simulate chaos --seeds 1..200 --hours 5 -o json',
      summary: 'a thousand hours; the last line is for scripts',
    },
    { command: 'spillway simulate chaos --seeds 7 --hours 5', summary: 'one world, again' },
  ],
  output: 'object',
  seeAlso: ['simulate region'],
  async run({ options, output, wiring, signal }) {
    const request = readRequest(options);
    const report = await wiring.simulateChaos(request, {
      signal,
      onSeed: ({ result, finished, wanted }) => {
        const { seed, violation } = result;
        const hours = (result.simulatedMs / 3_600_000).toFixed(1);
        const verdict = violation === null ? 'ok' : `VIOLATION ${violation.rule}`;
        output.hint(
          `${finished}/${wanted}  seed ${seed}  ${hours} h  ${result.faults.length} faults  ${result.digest}  ${verdict}`,
        );
      },
    });
    if (signal.aborted && report.seeds === 0) return EXIT_INTERRUPTED;
    await tell(output, report, request);
    if (signal.aborted) return EXIT_INTERRUPTED;
    return report.violations === 0 ? 0 : 1;
  },
};

function readRequest(options: Options): ChaosRequest {
  const shards = options.integer('shards', { min: 1, max: 64 });
  const budget = options.text('for');
  const faults = options.text('faults');
  const postgres = options.text('postgres');
  return {
    seeds: parseSeeds(options.text('seeds') ?? '1..20'),
    hours: options.integer('hours', { min: 1, max: 1_000 }) ?? 5,
    only: faults === null ? null : faults.split(',').filter((fault) => fault !== ''),
    repeat: options.integer('repeat', { min: 1, max: 10 }) ?? 1,
    shrink: !options.isSet('no-shrink'),
    untilViolation: options.isSet('fail-fast'),
    budgetMs: budget === null ? null : parseUnit('for', budget, parseDuration),
    ...(shards === null ? {} : { shards }),
    ...(postgres === null ? {} : { shards: 1, adminUrls: [postgres] }),
  };
}

function parseSeeds(text: string): ChaosRequest['seeds'] {
  const found = /^(\d{1,7})(?:\.\.(\d{1,7}))?$/.exec(text);
  const first = Number(found?.[1]);
  const last = Number(found?.[2] ?? found?.[1]);
  if (found === null || first > last || last - first >= SEEDS_MAX) {
    throw usage(`--seeds ${text} is no range`, 'write A..B, such as --seeds 1..200, or one number');
  }
  return { first, last };
}

async function tell(output: Output, report: ChaosReport, request: ChaosRequest): Promise<void> {
  for (const failure of report.failures) {
    const shown = failure.faults.slice(0, FAULTS_SHOWN).join(' ');
    output.warn(`seed ${failure.seed}: ${failure.message}`);
    output.warn(
      `  needs ${failure.faults.length} faults: ${shown}${failure.faults.length > FAULTS_SHOWN ? ' ...' : ''}`,
    );
    output.warn(`  again: ${replayCommand(failure, request)}`);
  }
  if (report.seeds === 0) {
    throw new AppError('REFUSED', 'no seed was run to its end', { remedy: 'give it more time with --for, or none' });
  }
  // One line whatever the form of JSON: scripts read the last line.
  if (output.form === 'json') return output.line(JSON.stringify(report));
  await output.object('ChaosReport', report, () => {
    const { simulatedHours, seeds, faultsInjected, violations, transitionsCovered, transitionsTotal } = report;
    output.line(`${simulatedHours} simulated hours over ${seeds} seeds in ${report.tookS} s, ${faultsInjected} faults`);
    output.line(
      `${transitionsCovered} of ${transitionsTotal} transitions seen, slowest recovery ${report.slowestRecoveryMinutes} min`,
    );
    output.line(`${violations} violations, digest ${report.digest}`);
  });
}

function replayCommand({ seed, faults }: ChaosReport['failures'][number], { hours }: ChaosRequest): string {
  const only = faults.length === 0 ? '' : ` --faults '${faults.join(',')}'`;
  return `spillway simulate chaos --seeds ${seed} --hours ${hours}${only}`;
}
