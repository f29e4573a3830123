import { parseAgentsSpec } from '../../src/backtest/agents-spec.ts';
import type { Amount, NodeType } from '../../src/backtest/types.ts';

/** What is chosen by hand for one log: peers need node groups, and a good choice flatters them. */
export interface LogSettings {
  readonly locals: readonly Amount[];
  readonly localsSpec: string;
  /** Width of the buckets of the lower bound. */
  readonly bucketS: number;
  /** For those that choose among groups, and as partitions: a task belongs to the first that holds it. */
  readonly groups: readonly NodeType[];
  /** For those that have one type in all. */
  readonly single: NodeType;
}

const C6A = 'c6a.large c6a.xlarge c6a.2xlarge c6a.4xlarge c6a.8xlarge c6a.16xlarge c6a.24xlarge c6a.32xlarge';
const M6A = 'm6a.xlarge m6a.2xlarge m6a.4xlarge m6a.8xlarge m6a.16xlarge';
const GPU = 'g4dn.xlarge g4dn.2xlarge g4dn.4xlarge g4dn.8xlarge g4dn.16xlarge g4dn.12xlarge g6.48xlarge';
const R5A = 'r5a.4xlarge r5a.8xlarge r5a.16xlarge';

/** By the beginning of the file's name; the last is for any other log. */
const CHOICES: readonly {
  readonly prefix: string;
  readonly spec: string;
  readonly bucketS: number;
  readonly groups: string;
  readonly single: string;
}[] = [
  { prefix: 'kth-sp2', spec: '5x16c', bucketS: 300, groups: C6A, single: 'c6a.32xlarge' },
  { prefix: 'lcg', spec: '60x16c', bucketS: 600, groups: C6A, single: 'c6a.4xlarge' },
  { prefix: 'surf', spec: '90x16c100g', bucketS: 600, groups: R5A, single: 'r5a.4xlarge' },
  {
    prefix: 'openb',
    spec: '2x96c768g8gpu,1x32c256g',
    bucketS: 600,
    groups: `${M6A} ${GPU}`,
    single: 'g4dn.4xlarge',
  },
  { prefix: '', spec: '4x16c', bucketS: 600, groups: C6A, single: 'c6a.4xlarge' },
];

/** Types the catalogue does not have are left out of the groups. */
export function settingsFor(name: string, types: readonly NodeType[]): LogSettings {
  const choice = CHOICES.find(({ prefix }) => name.startsWith(prefix)) ?? CHOICES.at(-1)!;
  const byName = new Map(types.map((type) => [type.name, type]));
  const groups = choice.groups.split(' ').flatMap((group) => byName.get(group) ?? []);
  const single = byName.get(choice.single) ?? groups[0];
  if (single === undefined) throw new Error(`the catalogue has none of ${choice.groups}`);
  return {
    locals: parseAgentsSpec(choice.spec),
    localsSpec: choice.spec,
    bucketS: choice.bucketS,
    groups,
    single,
  };
}
