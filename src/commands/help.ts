import type { VariableDoc } from '../config/variables.ts';
import { COMMON_EXIT_CODES, EXIT_CODES } from './exit-codes.ts';
import { GLOBAL_OPTIONS } from './options.ts';
import type { ArgumentSpec, CommandSpec, OptionSpec } from './types.ts';

/** What the program is, in the one line that help begins with. */
export const PROGRAM_SUMMARY = 'Runs work on your own agents first and opens to AWS only for what does not fit';

/** What each group of commands is about. */
export const NOUN_SUMMARIES: Readonly<Record<string, string>> = {
  agent: 'Worker machines that run tasks',
  config: 'What the environment says',
  cost: 'What the cloud has cost',
  explain: 'Why a plan, a machine or an agent is as it is',
  machine: 'Cloud machines, from intent to terminated',
  policy: 'How workloads may burst',
  simulate: 'A region of our own to try things in',
  task: 'Pieces of work',
};

export const HELP_TOPICS: Readonly<Record<string, string>> = {
  'exit-codes': 'What the exit codes mean',
  environment: 'The variables that are read',
};

/** `-o, --output FORM`. */
export function flagSyntax(option: OptionSpec): string {
  const short = option.short === undefined ? '    ' : `-${option.short}, `;
  return `${short}--${option.name}${option.value === undefined ? '' : ` ${option.value}`}`;
}

export function argumentSyntax(argument: ArgumentSpec): string {
  const name = argument.variadic === true ? `${argument.name}...` : argument.name;
  return argument.optional === true ? `[${name}]` : name;
}

/** `spillway task show TASK [flags]`. */
export function usageLine(spec: CommandSpec): string {
  const required = (spec.options ?? []).filter((option) => option.required === true);
  const flags = required.map((option) => `--${option.name} ${option.value ?? ''}`.trim());
  const positional = (spec.arguments ?? []).map(argumentSyntax);
  const separator = (spec.arguments ?? []).some((argument) => argument.name === 'COMMAND') ? ['--'] : [];
  return ['spillway', spec.path, ...flags, '[flags]', ...separator, ...positional].join(' ');
}

/** A flag's summary with what else there is to know. */
export function flagSummary(option: OptionSpec): string {
  const notes = [
    ...(option.required === true ? ['required'] : []),
    ...(option.repeatable === true ? ['may be repeated'] : []),
    ...(option.default === undefined ? [] : [`default ${option.default}`]),
  ];
  return notes.length === 0 ? option.summary : `${option.summary} (${notes.join('; ')})`;
}

/** Global flags that mean something for the command. */
export function globalOptionsOf(spec: CommandSpec): readonly OptionSpec[] {
  const list = ['columns', 'no-headers'];
  const formatted = ['output', 'color'];
  return GLOBAL_OPTIONS.filter((option) => {
    if (list.includes(option.name)) return spec.output === 'list';
    return !(formatted.includes(option.name) && spec.output === 'none' && option.name !== 'output');
  });
}

export function exitCodesOf(spec: CommandSpec): typeof EXIT_CODES {
  const codes = new Set([...COMMON_EXIT_CODES, ...(spec.exitCodes ?? [])]);
  return EXIT_CODES.filter((entry) => codes.has(entry.code));
}

/** Lines of two columns, the first as wide as its widest cell. */
function definitions(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(0, ...rows.map(([term]) => term.length));
  return rows.map(([term, text]) => `  ${term.padEnd(width)}  ${text}`.trimEnd());
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', title, ...lines];
}

/** Help of one command: the line, USAGE, EXAMPLES before FLAGS, ENVIRONMENT, EXIT CODES, SEE ALSO. */
export function commandHelp(spec: CommandSpec): string {
  const examples = spec.examples.flatMap((example) => [`  # ${example.summary}`, `  $ ${example.command}`]);
  const argumentRows = (spec.arguments ?? []).map((argument): [string, string] => [
    argumentSyntax(argument),
    argument.summary,
  ]);
  const flagRows = (spec.options ?? []).map((option): [string, string] => [flagSyntax(option), flagSummary(option)]);
  const globalRows = globalOptionsOf(spec).map((option): [string, string] => [flagSyntax(option), flagSummary(option)]);
  const exitRows = exitCodesOf(spec).map(({ code, meaning }): [string, string] => [String(code), meaning]);
  const also = [
    ...(spec.seeAlso ?? []).map((path) => `spillway ${path}`),
    'spillway help exit-codes',
    'spillway help environment',
  ];
  return [
    spec.summary,
    ...(spec.description === undefined ? [] : ['', spec.description]),
    ...section('USAGE', [`  ${usageLine(spec)}`]),
    ...section('EXAMPLES', examples),
    ...section('ARGUMENTS', definitions(argumentRows)),
    ...section('FLAGS', definitions(flagRows)),
    ...section('GLOBAL FLAGS', definitions([...globalRows, ['-h, --help', 'this text']])),
    ...section('ENVIRONMENT', [
      '  SPILLWAY_SOCKET or SPILLWAY_ADDR say where the service listens; all variables: spillway help environment',
    ]),
    ...section('EXIT CODES', definitions(exitRows)),
    ...section('SEE ALSO', [`  ${also.join(', ')}`]),
    '',
  ].join('\n');
}

/** Help of a group such as `spillway task`. */
export function nounHelp(noun: string, specs: readonly CommandSpec[]): string {
  const rows = specs
    .filter((spec) => spec.path.startsWith(`${noun} `))
    .map((spec): [string, string] => [spec.path, spec.summary]);
  return [
    NOUN_SUMMARIES[noun] ?? noun,
    ...section('USAGE', [`  spillway ${noun} COMMAND [flags]`]),
    ...section('COMMANDS', definitions(rows)),
    ...section('SEE ALSO', [`  spillway help ${noun} COMMAND`]),
    '',
  ].join('\n');
}

/** Help of the program. */
export function programHelp(specs: readonly CommandSpec[]): string {
  const rows = specs.map((spec): [string, string] => [spec.path, spec.summary]);
  return [
    PROGRAM_SUMMARY,
    ...section('USAGE', ['  spillway COMMAND [flags]']),
    ...section('EXAMPLES', [
      '  # check the policies, start the service, give it work',
      '  $ spillway policy validate policies/*.yaml',
      '  $ spillway serve',
      '  $ spillway task submit --workload transcode --count 20 -- /opt/encode.sh',
      '  $ spillway status',
    ]),
    ...section('COMMANDS', definitions(rows)),
    ...section('HELP TOPICS', definitions(Object.entries(HELP_TOPICS))),
    ...section(
      'GLOBAL FLAGS',
      definitions([
        ...GLOBAL_OPTIONS.map((option): [string, string] => [flagSyntax(option), flagSummary(option)]),
        ['    --version', 'the version'],
        ['-h, --help', 'help for any command'],
      ]),
    ),
    '',
  ].join('\n');
}

export function exitCodesHelp(): string {
  const rows = EXIT_CODES.map(({ code, meaning }): [string, string] => [String(code), meaning]);
  return ['Exit codes, the same for every command', '', ...definitions(rows), ''].join('\n');
}

/** Every variable with its default and meaning; secrets may come from a file. */
export function environmentHelp(
  variables: readonly VariableDoc[],
  hasFileForm: (variable: VariableDoc) => boolean,
): string {
  const lines = variables.flatMap((variable) => {
    const standard =
      variable.default ?? (variable.defaultMeaning === undefined ? 'not set' : `not set: ${variable.defaultMeaning}`);
    const names = hasFileForm(variable) ? `${variable.name}, ${variable.name}_FILE` : variable.name;
    return [`  ${names} (${standard})`, `      ${variable.meaning}`];
  });
  const color = ['  NO_COLOR, FORCE_COLOR', '      leave colour out, or force it; --color wins'];
  return ['Variables that are read, with their defaults', '', ...lines, ...color, ''].join('\n');
}
