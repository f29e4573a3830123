import { Argument, Command, CommanderError, Option } from 'commander';
import { commandHelp, nounHelp, programHelp } from './help.ts';
import { GLOBAL_OPTIONS, Options, usage, type OptionValues } from './options.ts';
import type { CommandSpec, OptionSpec } from './types.ts';

/** What a command line turned out to ask for. */
export type Invocation =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'version' }
  | { readonly kind: 'help'; readonly words: readonly string[] }
  | { readonly kind: 'run'; readonly spec: CommandSpec; readonly args: readonly string[]; readonly options: Options };

/**
 * Reads a command line. Commander does the parsing; its texts, exit codes and help are replaced by ours.
 * @throws AppError USAGE
 */
export function parseInvocation(argv: readonly string[], specs: readonly CommandSpec[]): Invocation {
  const found: Invocation[] = [];
  const printed: string[] = [];
  const program = buildProgram(
    specs,
    (invocation) => found.push(invocation),
    (text) => printed.push(text),
  );
  try {
    program.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === 'commander.version') return { kind: 'version' };
    if (error.code === 'commander.helpDisplayed' || error.code === 'commander.help')
      return { kind: 'text', text: printed.join('') };
    throw usageError(error, argv, specs);
  }
  const invocation = found[0];
  return invocation ?? { kind: 'text', text: programHelp(specs) };
}

/** Commander's message without its prefix; its suggestion becomes the remedy. */
function usageError(error: CommanderError, argv: readonly string[], specs: readonly CommandSpec[]): Error {
  const [what = '', ...suggestions] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = suggestions.join(' ').replace(/^\((.*)\)$/, '$1');
  const help = `see \`${['spillway', ...knownWords(argv, specs), '--help'].join(' ')}\``;
  return usage(what.replace(/\.$/, ''), suggestion === '' ? help : `${suggestion} (${help})`);
}

/** The beginning of a command line that names a command or a group. */
function knownWords(argv: readonly string[], specs: readonly CommandSpec[]): string[] {
  const words = argv.filter((word) => !word.startsWith('-'));
  const isKnown = (path: string): boolean =>
    specs.some((spec) => spec.path === path || spec.path.startsWith(`${path} `));
  for (const length of [2, 1]) {
    const first = words.slice(0, length);
    if (first.length === length && isKnown(first.join(' '))) return first;
  }
  return [];
}

type Found = (invocation: Invocation) => void;

function buildProgram(specs: readonly CommandSpec[], found: Found, print: (text: string) => void): Command {
  const program = new Command('spillway');
  configure(program, () => programHelp(specs), print);
  GLOBAL_OPTIONS.forEach((option) => program.addOption(toCommander(option)));
  program.version('version', '--version');
  const nouns = new Map<string, Command>();
  for (const spec of specs) {
    const [first = '', verb] = spec.path.split(' ');
    if (verb === undefined) {
      program.addCommand(leaf(first, spec, { program, found, print }));
      continue;
    }
    // `plan replay` is a command of the command `plan`.
    const known = nouns.get(first) ?? program.commands.find((command) => command.name() === first);
    const noun = known ?? configure(new Command(first), () => nounHelp(first, specs), print);
    if (known === undefined) program.addCommand(noun);
    nouns.set(first, noun);
    noun.addCommand(leaf(verb, spec, { program, found, print }));
  }
  const help = configure(new Command('help'), () => programHelp(specs), print);
  help.addArgument(new Argument('[words...]'));
  help.action((words: string[]) => found({ kind: 'help', words }));
  program.addCommand(help);
  return program;
}

function configure(command: Command, help: () => string, print: (text: string) => void): Command {
  return command
    .exitOverride()
    .helpCommand(false)
    .helpOption('-h, --help')
    .configureOutput({ writeOut: print, writeErr: print, outputError: () => undefined })
    .configureHelp({ formatHelp: help });
}

function leaf(
  name: string,
  spec: CommandSpec,
  shared: { program: Command; found: Found; print: (text: string) => void },
): Command {
  const command = configure(new Command(name), () => commandHelp(spec), shared.print);
  for (const argument of spec.arguments ?? []) {
    const text = argument.variadic === true ? `${argument.name}...` : argument.name;
    command.addArgument(new Argument(argument.optional === true ? `[${text}]` : `<${text}>`));
  }
  (spec.options ?? []).forEach((option) => command.addOption(toCommander(option)));
  command.action(() => {
    refuseForeignFlags(command, spec);
    const values = { ...valuesOf(shared.program, GLOBAL_OPTIONS), ...valuesOf(command, spec.options ?? []) };
    shared.found({ kind: 'run', spec, args: command.args, options: new Options(values) });
  });
  return command;
}

function toCommander(spec: OptionSpec): Option {
  const short = spec.short === undefined ? '' : `-${spec.short}, `;
  const option = new Option(`${short}--${spec.name}${spec.value === undefined ? '' : ` <${spec.value}>`}`);
  if (spec.choices !== undefined) option.choices(spec.choices);
  if (spec.required === true) option.makeOptionMandatory();
  if (spec.default !== undefined) option.default(spec.default);
  if (spec.repeatable === true)
    option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
  return option;
}

/** `plan` takes a flag that `plan replay` has as well for its own, wherever it stands; it is still the one that was meant. */
function holderOf(command: Command, attribute: string): Command {
  const { parent } = command;
  const isParents = parent !== null && parent.getOptionValueSource(attribute) === 'cli';
  return isParents && command.getOptionValueSource(attribute) !== 'cli' ? parent : command;
}

/** Flags of `plan` say nothing to `plan replay`, and a flag that is ignored is a trap. @throws AppError USAGE */
function refuseForeignFlags({ parent }: Command, { path, options = [] }: CommandSpec): void {
  if (parent === null || parent.parent === null) return;
  for (const option of parent.options) {
    const isGiven = parent.getOptionValueSource(option.attributeName()) === 'cli';
    if (!isGiven || options.some(({ name }) => `--${name}` === option.long)) continue;
    throw usage(`${option.long ?? option.flags} is not a flag of ${path}`, `see \`spillway ${path} --help\``);
  }
}

/** By the names of the specs; commander keeps `--no-headers` as `headers: false`. */
function valuesOf(command: Command, specs: readonly OptionSpec[]): OptionValues {
  return Object.fromEntries(
    specs.map((spec) => {
      const attribute = toCommander(spec).attributeName();
      const value: unknown = holderOf(command, attribute).getOptionValue(attribute);
      return [spec.name, spec.name.startsWith('no-') ? value === false : value];
    }),
  ) as OptionValues;
}
