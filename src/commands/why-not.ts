import { countOf } from '../planner/text.ts';
import type { Direction } from '../planner/why-not.ts';
import type { WhyNotDocument } from '../ports/explanations.ts';
import { EXIT_CHANGES } from './exit-codes.ts';
import { usage } from './options.ts';
import { terminalSafeLines } from './output/terminal-text.ts';
import type { CommandSpec } from './types.ts';

export const whyNot: CommandSpec = {
  path: 'why-not',
  summary: 'Say why nothing more is launched for a workload, or let go, and what to do about it',
  description: 'Asks the planner for what it would do now. What binds first is named first.',
  arguments: [{ name: 'WORKLOAD', summary: 'name of the workload', names: 'workloads' }],
  options: [
    { name: 'scale-up', summary: 'only why nothing more is launched' },
    { name: 'scale-down', summary: 'only why nothing is let go' },
    { name: 'detailed-exitcode', summary: 'exit 10 when something asks for machines that are not launched' },
  ],
  examples: [
    { command: 'spillway why-not transcode', summary: 'both ways' },
    { command: 'spillway why-not transcode --scale-up', summary: 'work waits, and no machine comes' },
  ],
  output: 'object',
  exitCodes: [3, EXIT_CHANGES],
  seeAlso: ['plan', 'explain plan', 'status'],
  async run({ args, options, output, client }) {
    const [up, down] = [options.isSet('scale-up'), options.isSet('scale-down')];
    if (up && down) throw usage('--scale-up and --scale-down leave nothing out', 'leave both out to see both');
    const path = `/v1/workloads/${encodeURIComponent(args[0] ?? '')}/why-not`;
    const answer = await (await client()).get<WhyNotDocument>('WhyNot', path);
    const directions = { up: !down, down: !up };
    await output.object('WhyNot', answer, () => {
      output.line(terminalSafeLines(whyNotSentences(answer, directions).join('\n')));
    });
    return options.isSet('detailed-exitcode') && isBlocked(answer) ? EXIT_CHANGES : 0;
  },
};

/** Something asks for machines, and the next plan brings none. */
function isBlocked({ scaleUp }: WhyNotDocument): boolean {
  return scaleUp.wanted.length > 0 && scaleUp.machines === 0;
}

/** Both directions, or one; the finding that binds first comes first. */
export function whyNotSentences(
  answer: WhyNotDocument,
  directions: { readonly up: boolean; readonly down: boolean },
): string[] {
  const { scaleUp, scaleDown, workload, lastPlan } = answer;
  const newest =
    lastPlan === null
      ? []
      : [
          '',
          `Newest stored plan: ${lastPlan.id} of ${lastPlan.decidedAt}; see \`spillway explain plan ${lastPlan.id}\``,
        ];
  const parts = [
    ...(directions.up ? [directionSentences(`${workload}, launching: ${upHead(scaleUp)}`, scaleUp)] : []),
    ...(directions.down ? [directionSentences(`${workload}, letting go: ${downHead(scaleDown)}`, scaleDown)] : []),
  ];
  return [...parts.flatMap((part, index) => (index === 0 ? part : ['', ...part])), ...newest];
}

function upHead({ machines, wanted }: Direction): string {
  if (machines > 0)
    return `the next plan launches or takes back ${countOf(machines, 'machine')}; more are not wanted or not allowed`;
  return wanted.length > 0 ? 'machines are wanted, and none is launched' : 'nothing asks for a machine';
}

function downHead({ machines }: Direction): string {
  return machines > 0 ? `the next plan lets ${countOf(machines, 'machine')} go` : 'nothing is let go';
}

function directionSentences(head: string, { wanted, findings }: Direction): string[] {
  return [
    head,
    ...wanted.map((clause) => `  wanted: ${clause}`),
    ...findings.flatMap(({ binding, says, detail, remedy }, index) => [
      `  ${index + 1}. ${binding}: ${says} (${detail})`,
      `     remedy: ${remedy}`,
    ]),
  ];
}
