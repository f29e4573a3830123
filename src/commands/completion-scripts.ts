import type { NameKind } from '../ports/names.ts';
import { COMMANDS } from './catalog.ts';
import { globalOptionsOf, HELP_TOPICS } from './help.ts';
import { didYouMean, usage } from './options.ts';
import type { CommandSpec, OptionSpec } from './types.ts';

/** What may follow some words: the next words of commands, or the flags and values of one command. */
interface Completion {
  /** e.g. `task`, or empty for the program itself. */
  readonly path: string;
  readonly words: readonly string[];
}

function optionsOf(spec: CommandSpec): readonly OptionSpec[] {
  return [...(spec.options ?? []), ...globalOptionsOf(spec)];
}

function flagWords(spec: CommandSpec): string[] {
  return [...optionsOf(spec).map((option) => `--${option.name}`), '--help'];
}

/** Every place in a command line with the words that fit there. */
function completions(): Completion[] {
  const groups = new Map<string, string[]>();
  for (const spec of COMMANDS) {
    const [first = '', verb] = spec.path.split(' ');
    const top = groups.get('') ?? [];
    groups.set('', top.includes(first) ? top : [...top, first]);
    if (verb !== undefined) groups.set(first, [...(groups.get(first) ?? []), verb]);
  }
  groups.set('', [...(groups.get('') ?? []), 'help']);
  groups.set('help', [...(groups.get('') ?? []), ...Object.keys(HELP_TOPICS)]);
  groups.set('completion', ['bash', 'zsh', 'fish', ...(groups.get('completion') ?? [])]);
  const flags = COMMANDS.map((spec) => ({
    path: spec.path,
    words: [...(groups.get(spec.path) ?? []), ...flagWords(spec)],
  }));
  const rest = [...groups].filter(([path]) => !COMMANDS.some((spec) => spec.path === path));
  return [...rest.map(([path, words]) => ({ path, words })), ...flags];
}

/** Flags with a fixed set of values, by the words of the command. */
function choices(): { readonly path: string; readonly flag: string; readonly values: readonly string[] }[] {
  return COMMANDS.flatMap((spec) =>
    optionsOf(spec).flatMap((option) => {
      const flags = [`--${option.name}`, ...(option.short === undefined ? [] : [`-${option.short}`])];
      return option.choices === undefined
        ? []
        : flags.map((flag) => ({ path: spec.path, flag, values: option.choices ?? [] }));
    }),
  );
}

type NameCase = readonly [pattern: string, kind: NameKind | ''];

/** Where names that the running service knows may stand, as patterns of `case`: after `path|flag`, or after `path`. */
interface NamePlaces {
  readonly flags: readonly NameCase[];
  readonly words: readonly NameCase[];
}

function namePlaces(): NamePlaces {
  const flags = COMMANDS.flatMap((spec) =>
    optionsOf(spec).flatMap(({ name, short, value, names }) => {
      // A value of another kind is no name either, where the command takes names.
      if (names === undefined && (value === undefined || spec.arguments?.[0]?.names === undefined)) return [];
      const given = [`--${name}`, ...(short === undefined ? [] : [`-${short}`])];
      return given.map((flag) => [`'${spec.path}|${flag}'`, names ?? ''] as const);
    }),
  );
  const words = COMMANDS.flatMap(({ path, arguments: [first] = [] }) => {
    if (first?.names === undefined) return [];
    // After the first of several names another one may come.
    return [[first.variadic === true ? `'${path}'|'${path} '*` : `'${path}'`, first.names] as const];
  });
  return { flags, words };
}

function nameCases(places: readonly NameCase[], indent: string): string {
  return places.map(([pattern, kind]) => `${indent}${pattern}) kind=${kind} ;;`).join('\n');
}

function bashScript(): string {
  const names = namePlaces();
  const valueCases = choices().map(({ path, flag, values }) => `    '${path}|${flag}') words='${values.join(' ')}' ;;`);
  const wordCases = completions().map(({ path, words }) => `    '${path}') words='${words.join(' ')}' ;;`);
  return `# Completion of spillway for bash.
_spillway() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path='' word words='' kind=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) break ;; esac
    path="\${path:+$path }$word"
  done
  case "$path|$previous" in
${valueCases.join('\n')}
  esac
  if [ -z "$words" ]; then
    case $path in
${wordCases.join('\n')}
    esac
  fi
  case "$path|$previous" in
${nameCases(names.flags, '    ')}
    *) case $path in
${nameCases(names.words, '      ')}
    esac ;;
  esac
  if [ -n "$kind" ] && [ "\${current#-}" = "$current" ]; then
    words=$("\${COMP_WORDS[0]}" completion names "$kind" "$current" 2>/dev/null)
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _spillway spillway
`;
}

/** zsh runs the script of bash through its own emulation: one table of words, one set of mistakes. */
function zshScript(): string {
  const names = namePlaces();
  return `#compdef spillway
# Completion of spillway for zsh.
_spillway_zsh() {
  local current=\${words[CURRENT]} previous=\${words[CURRENT-1]} command_path='' word candidates='' kind=''
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case $word in -*) break ;; esac
    command_path="\${command_path:+$command_path }$word"
  done
  case "$command_path|$previous" in
${choices()
  .map(({ path, flag, values }) => `    '${path}|${flag}') candidates='${values.join(' ')}' ;;`)
  .join('\n')}
  esac
  if [[ -z $candidates ]]; then
    case $command_path in
${completions()
  .map(({ path, words }) => `    '${path}') candidates='${words.join(' ')}' ;;`)
  .join('\n')}
    esac
  fi
  case "$command_path|$previous" in
${nameCases(names.flags, '    ')}
    *) case $command_path in
${nameCases(names.words, '      ')}
    esac ;;
  esac
  if [[ -n $kind && $current != -* ]]; then
    candidates=$("\${(Q)words[1]}" completion names "$kind" "$current" 2>/dev/null)
  fi
  if [[ -n $candidates ]]; then compadd -- \${=candidates}; else _files; fi
}
compdef _spillway_zsh spillway
`;
}

function quoteFish(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** Fish runs it when it asks for candidates. */
function fishNames(kind: NameKind): string {
  return `(spillway completion names ${kind} (commandline -ct) 2>/dev/null)`;
}

function fishScript(): string {
  const lines = COMMANDS.flatMap((spec) => {
    const [first = '', verb] = spec.path.split(' ');
    const reached =
      verb === undefined
        ? `__fish_seen_subcommand_from ${first}`
        : `__fish_seen_subcommand_from ${first}; and __fish_seen_subcommand_from ${verb}`;
    const word =
      verb === undefined
        ? `complete -c spillway -f -n __fish_use_subcommand -a ${first} -d ${quoteFish(spec.summary)}`
        : `complete -c spillway -f -n '__fish_seen_subcommand_from ${first}' -a ${verb} -d ${quoteFish(spec.summary)}`;
    const flags = optionsOf(spec).map((option) => {
      const short = option.short === undefined ? '' : ` -s ${option.short}`;
      const value =
        option.value === undefined
          ? ''
          : option.choices === undefined
            ? option.names === undefined
              ? ' -r'
              : ` -x -a ${quoteFish(fishNames(option.names))}`
            : ` -x -a ${quoteFish(option.choices.join(' '))}`;
      return `complete -c spillway -n '${reached}' -l ${option.name}${short}${value} -d ${quoteFish(option.summary)}`;
    });
    const kind = spec.arguments?.[0]?.names;
    const names =
      kind === undefined ? [] : [`complete -c spillway -f -n '${reached}' -a ${quoteFish(fishNames(kind))}`];
    return [word, ...flags, ...names];
  });
  const nouns = new Set(
    COMMANDS.filter((spec) => spec.path.includes(' ')).map((spec) => spec.path.split(' ')[0] ?? ''),
  );
  const groups = [...nouns].map((noun) => `complete -c spillway -f -n __fish_use_subcommand -a ${noun}`);
  return `# Completion of spillway for fish.\n${[...groups, ...lines].join('\n')}\n`;
}

const SCRIPTS: Readonly<Record<string, () => string>> = { bash: bashScript, zsh: zshScript, fish: fishScript };

/** The completion script of a shell, made from the same data as help. @throws AppError USAGE for another shell. */
export function completionScript(shell: string): string {
  const script = SCRIPTS[shell];
  if (script === undefined)
    throw usage(`there is no completion for ${JSON.stringify(shell)}`, didYouMean(shell, Object.keys(SCRIPTS)));
  return script();
}
