import { COMMANDS } from './catalog.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { argumentSyntax, exitCodesOf, flagSummary, flagSyntax, PROGRAM_SUMMARY, usageLine } from './help.ts';
import { GLOBAL_OPTIONS } from './options.ts';
import type { CommandSpec, OptionSpec } from './types.ts';

/** Text inside a table cell: a bar would end the cell. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function table(header: readonly [string, string], rows: readonly (readonly [string, string])[]): string[] {
  if (rows.length === 0) return [];
  return [
    '',
    `| ${header[0]} | ${header[1]} |`,
    '|---|---|',
    ...rows.map(([left, right]) => `| ${cell(left)} | ${cell(right)} |`),
  ];
}

function flagRow(option: OptionSpec): [string, string] {
  const choices = option.choices === undefined ? '' : `: ${option.choices.map((choice) => `\`${choice}\``).join(' ')}`;
  return [`\`${flagSyntax(option).trim()}\``, `${flagSummary(option)}${choices}`];
}

function commandSection(spec: CommandSpec): string[] {
  const extra = exitCodesOf(spec).filter(({ code }) => (spec.exitCodes ?? []).includes(code));
  return [
    '',
    `## spillway ${spec.path}`,
    '',
    `${spec.summary}.${spec.description === undefined ? '' : ` ${spec.description}`}`,
    '',
    '```',
    usageLine(spec),
    '```',
    '',
    'Examples:',
    '',
    '```sh',
    ...spec.examples.flatMap((example) => [`# ${example.summary}`, example.command]),
    '```',
    ...table(
      ['argument', 'meaning'],
      (spec.arguments ?? []).map((argument) => [`\`${argumentSyntax(argument)}\``, argument.summary]),
    ),
    ...table(['flag', 'meaning'], (spec.options ?? []).map(flagRow)),
    ...table(
      ['exit code of its own', 'meaning'],
      extra.map(({ code, meaning }) => [String(code), meaning]),
    ),
    ...(spec.seeAlso === undefined
      ? []
      : ['', `See also: ${spec.seeAlso.map((path) => `\`spillway ${path}\``).join(', ')}.`]),
  ];
}

/** `docs/cli.md`: the reference of the command line, made from the same data as its help. */
export function renderCliDocs(): string {
  return [
    '# The command line',
    '',
    '<!-- Generated from src/commands; `npm run generate` writes it. -->',
    '',
    `\`spillway\`: ${PROGRAM_SUMMARY}.`,
    '',
    'Data goes to standard output; progress, hints, warnings and errors go to standard error. On a terminal tables are aligned and rounded;',
    'in a pipe they have tabs, whole ids, RFC 3339 times and plain numbers. An empty list is a sentence on standard error and exit code 0.',
    '`-o json` prints `{"apiVersion":"spillway/v1","kind":"MachineList","items":[...]}`, `-o jsonl` one item a line; money is a decimal string in',
    'US dollars, durations are seconds. CSV follows RFC 4180; a text that a spreadsheet would take for a formula gets an apostrophe in front.',
    'Errors are `error:`, `cause:` and `fix:` lines on standard error, or with `-o json` and `-o jsonl` one JSON object there:',
    '`{"apiVersion":"spillway/v1","kind":"Error","error":{"code","message","cause","remedy"}}`. Their codes are in [errors.md](errors.md).',
    ...table(['flag of every command', 'meaning'], GLOBAL_OPTIONS.map(flagRow)),
    ...table(
      ['exit code', 'meaning'],
      EXIT_CODES.map(({ code, meaning }) => [String(code), meaning]),
    ),
    ...COMMANDS.flatMap(commandSection),
    '',
  ].join('\n');
}
