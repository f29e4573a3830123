import type { CampaignReport, SeedFailure } from '../../src/chaos/campaign.ts';

/** docs/reliability.json: what a campaign of the simulation and the planted bugs showed. */
export interface ReliabilityReport {
  /** As it was asked for, so that it can be asked for again. */
  readonly command: string;
  readonly simulatedHours: number;
  readonly seeds: number;
  readonly violations: number;
  readonly failures: readonly SeedFailure[];
  readonly faults: { readonly total: number; readonly byKind: Readonly<Record<string, number>> };
  readonly transitions: { readonly covered: number; readonly total: number; readonly missing: readonly string[] };
  readonly slowestRecoveryMinutes: number;
  readonly mutants: MutantsReport;
  readonly statements: number;
  readonly wallTimeS: number;
  readonly postgres: number;
  /** Of the digests of all seeds: who runs the same command on the same source sees the same. */
  readonly digest: string;
}

/** What is on record of the planted bugs, and nothing beyond it. */
interface MutantsReport {
  readonly planted: number;
  readonly killed: number;
  /** Of those killed, by the simulation; the others by a test. */
  readonly bySeed: number;
  readonly kills: Readonly<Record<string, Kill>>;
  readonly unnoticed: readonly string[];
}

/** The seed that noticed a planted bug (null: a test did), and the rule it broke. */
export interface Kill {
  readonly seed: number | null;
  readonly rule: string;
}

export function makeReport(
  campaign: CampaignReport,
  about: {
    readonly command: string;
    readonly planted: readonly string[];
    readonly kills: Readonly<Record<string, Kill>>;
    readonly postgres: number;
  },
): ReliabilityReport {
  const { command, planted, kills, postgres } = about;
  return {
    command,
    simulatedHours: campaign.simulatedHours,
    seeds: campaign.seeds,
    violations: campaign.violations,
    failures: campaign.failures,
    faults: { total: campaign.faultsInjected, byKind: campaign.faultsByKind },
    transitions: {
      covered: campaign.transitionsCovered,
      total: campaign.transitionsTotal,
      missing: campaign.transitionsMissing,
    },
    slowestRecoveryMinutes: campaign.slowestRecoveryMinutes,
    mutants: reportMutants(planted, kills),
    statements: campaign.statements,
    wallTimeS: campaign.tookS,
    postgres,
    digest: campaign.digest,
  };
}

export function reportMutants(planted: readonly string[], kills: Readonly<Record<string, Kill>>): MutantsReport {
  const killed = planted.flatMap((name) => (kills[name] === undefined ? [] : [[name, kills[name]] as const]));
  return {
    planted: planted.length,
    killed: killed.length,
    bySeed: killed.filter(([, { seed }]) => seed !== null).length,
    kills: Object.fromEntries(killed),
    unnoticed: planted.filter((name) => kills[name] === undefined),
  };
}

const BEGIN = '<!-- reliability: written by `npm run generate` from docs/reliability.json -->';
const END = '<!-- /reliability -->';

/** The text with the table of the report between its markers. @throws Error when the markers are not there, once each */
export function withReliabilityTable(text: string, report: ReliabilityReport): string {
  const [before, rest, ...more] = text.split(BEGIN);
  const [, after, ...tooMany] = rest?.split(END) ?? [];
  if (before === undefined || after === undefined || more.length + tooMany.length > 0) {
    throw new Error(`the text must have ${BEGIN} and ${END} once each`);
  }
  return `${before}${BEGIN}\n\n${renderTable(report)}\n\n${END}${after}`;
}

function renderTable({ mutants, transitions, ...report }: ReliabilityReport): string {
  const number = (value: number): string => value.toLocaleString('en-US');
  const rows = [
    ['simulated hours', `${number(report.simulatedHours)}, ${number(report.seeds)} seeds`],
    ['faults', `${number(report.faults.total)} of ${Object.keys(report.faults.byKind).length} kinds`],
    ['broken promises', number(report.violations)],
    ['transitions of a machine seen', `${transitions.covered} of ${transitions.total}`],
    [
      'from the last fault until all work left was done and every machine gone, at most',
      `${report.slowestRecoveryMinutes} min`,
    ],
    [
      'planted bugs noticed',
      `${mutants.killed} of ${mutants.planted}: ${mutants.bySeed} by a seed of the simulation, ${mutants.killed - mutants.bySeed} by a test`,
    ],
    ['statements, time', `${number(report.statements)} on Postgres ${report.postgres}, ${number(report.wallTimeS)} s`],
  ];
  return ['| what | how much |', '|---|---|', ...rows.map((cells) => `| ${cells.join(' | ')} |`)].join('\n');
}
