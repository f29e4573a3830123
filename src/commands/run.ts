import type { AppError } from '../model/errors.ts';
import { COMMANDS } from './catalog.ts';
import { EXIT_INTERRUPTED } from './exit-codes.ts';
import {
  commandHelp,
  environmentHelp,
  exitCodesHelp,
  HELP_TOPICS,
  nounHelp,
  NOUN_SUMMARIES,
  programHelp,
} from './help.ts';
import { didYouMean, usage } from './options.ts';
import { Output, type OutputStreams } from './output/output.ts';
import { parseInvocation, type Invocation } from './program.ts';
import { renderError } from './render-error.ts';
import { ServiceClient } from './service-client.ts';
import type { CliWiring, CommandContext } from './types.ts';

/** What the process gives to the command line. */
export interface CliEnvironment {
  readonly streams: OutputStreams;
  readonly wiring: CliWiring;
  readonly nowMs: () => number;
  version(): string;
  /** Calls back on Ctrl-C until the returned function is called. */
  onInterrupt(callback: () => void): () => void;
}

/** Runs one command line and returns the exit code. Never throws: every error ends here, in words. */
export async function runCli(argv: readonly string[], environment: CliEnvironment): Promise<number> {
  const wanted = readErrorForm(argv);
  try {
    const invocation = parseInvocation(argv, COMMANDS);
    switch (invocation.kind) {
      case 'text':
        environment.streams.stdout.write(invocation.text);
        return 0;
      case 'version':
        environment.streams.stdout.write(`spillway ${environment.version()}\n`);
        return 0;
      case 'help':
        environment.streams.stdout.write(await helpOn(invocation.words));
        return 0;
      case 'run':
        return await runCommand(invocation, environment);
    }
  } catch (error) {
    const rendered = renderError(error, wanted);
    environment.streams.stderr.write(rendered.text);
    return rendered.exitCode;
  }
}

async function runCommand(
  invocation: Extract<Invocation, { kind: 'run' }>,
  environment: CliEnvironment,
): Promise<number> {
  const { spec, args, options } = invocation;
  const interrupt = new AbortController();
  const context: CommandContext = {
    spec,
    args,
    options,
    output: new Output(environment.streams, options, spec.output),
    wiring: environment.wiring,
    nowMs: environment.nowMs,
    signal: interrupt.signal,
    client: async (requestMs) => {
      const { serviceUrl, socketPath } = await environment.wiring.readConfig();
      return new ServiceClient(
        serviceUrl === null ? { kind: 'socket', path: socketPath } : { kind: 'url', url: serviceUrl },
        interrupt.signal,
        requestMs,
      );
    },
  };
  if (spec.ownsSignals === true) return spec.run(context);
  const interrupted = Promise.withResolvers<number>();
  const stopListening = environment.onInterrupt(() => {
    interrupt.abort();
    interrupted.resolve(EXIT_INTERRUPTED);
  });
  try {
    return await Promise.race([spec.run(context), interrupted.promise]);
  } catch (error) {
    if (interrupt.signal.aborted) return EXIT_INTERRUPTED;
    throw error;
  } finally {
    stopListening();
  }
}

/** How errors are to be written must be known even when the command line cannot be parsed. */
function readErrorForm(argv: readonly string[]): { readonly json: boolean; readonly debug: boolean } {
  const end = argv.indexOf('--');
  const flags = end === -1 ? argv : argv.slice(0, end);
  const json = flags.some((flag, index) => {
    const value = /^(?:-o|--output)$/.test(flag) ? flags[index + 1] : /^(?:-o=?|--output=)(.+)$/.exec(flag)?.[1];
    return value === 'json' || value === 'jsonl';
  });
  return { json, debug: flags.includes('--debug') };
}

async function helpOn(words: readonly string[]): Promise<string> {
  const path = words.join(' ');
  if (path === '') return programHelp(COMMANDS);
  if (path === 'exit-codes') return exitCodesHelp();
  if (path === 'environment') {
    const { hasFileForm, VARIABLES } = await import('../config/variables.ts');
    return environmentHelp(VARIABLES, hasFileForm);
  }
  if (path in NOUN_SUMMARIES) return nounHelp(path, COMMANDS);
  const spec = COMMANDS.find((candidate) => candidate.path === path);
  if (spec !== undefined) return commandHelp(spec);
  throw unknownTopic(path);
}

function unknownTopic(path: string): AppError {
  const known = [...Object.keys(HELP_TOPICS), ...Object.keys(NOUN_SUMMARIES), ...COMMANDS.map((spec) => spec.path)];
  return usage(`there is no help on ${JSON.stringify(path)}`, didYouMean(path, known));
}
