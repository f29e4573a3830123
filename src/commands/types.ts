import type { Config } from '../config/types.ts';
import type { Options } from './options.ts';
import type { Output } from './output/output.ts';
import type { ServiceClient } from './service-client.ts';

/** One flag of a command; help, docs, completion and parsing all come from this. */
export interface OptionSpec {
  /** Long name without dashes, kebab-case. */
  readonly name: string;
  /** One letter without the dash. */
  readonly short?: string;
  /** Name of the value in help, e.g. `WORKLOAD`; absent = a switch. */
  readonly value?: string;
  readonly summary: string;
  /** Shown in help and used when the flag is not given. */
  readonly default?: string;
  readonly choices?: readonly string[];
  readonly repeatable?: boolean;
  readonly required?: boolean;
}

export interface ArgumentSpec {
  /** Upper-case, e.g. `FILE`. */
  readonly name: string;
  readonly summary: string;
  readonly variadic?: boolean;
  readonly optional?: boolean;
}

export interface Example {
  /** Without the `$`; a whole command line. */
  readonly command: string;
  readonly summary: string;
}

/** `list`: rows, every form of output. `object`: one thing, no CSV and no names. `none`: nothing on standard output to format. */
export type OutputShape = 'list' | 'object' | 'none';

/** One command: its data and what it does. */
export interface CommandSpec {
  /** e.g. `task submit`. */
  readonly path: string;
  /** One line, imperative, without a full stop. */
  readonly summary: string;
  /** What the summary has no room for; sentences. */
  readonly description?: string;
  readonly arguments?: readonly ArgumentSpec[];
  readonly options?: readonly OptionSpec[];
  readonly examples: readonly Example[];
  readonly output: OutputShape;
  /** Exit codes beyond those every command has. */
  readonly exitCodes?: readonly number[];
  /** Commands worth knowing next. */
  readonly seeAlso?: readonly string[];
  /** True for commands that keep running and end on signals by themselves. */
  readonly ownsSignals?: boolean;
  /** The exit code; throws AppError for what went wrong. */
  run(context: CommandContext): Promise<number>;
}

/** Everything a command may touch. */
export interface CommandContext {
  readonly spec: CommandSpec;
  readonly args: readonly string[];
  readonly options: Options;
  readonly output: Output;
  readonly wiring: CliWiring;
  readonly nowMs: () => number;
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal;
  /** The running service. Reads the configuration, connects with the first request. */
  client(): Promise<ServiceClient>;
}

export interface MigrationReport {
  readonly applied: readonly string[];
  readonly pending: readonly string[];
}

/** What of the simulated region can be set from outside; absent = its own default. */
export interface SimulatedRegionOptions {
  /** Of EC2; 0 = any free one. */
  readonly port: number;
  readonly bootMs: number;
  readonly seed: string;
  readonly host: 'ssh2' | 'openssh';
  readonly sshPort?: number;
  readonly owner?: string;
  readonly dataDir?: string;
}

/**
 * What only `cli.ts` may reach: the composition root, adapters, the environment. Each is loaded when it is called,
 * so that a command pays for nothing it does not use.
 */
export interface CliWiring {
  readConfig(): Promise<Config>;
  /** Resolves after `ms`; rejects when the signal aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  runService(config: Config): Promise<number>;
  migrate(config: Config, mode: 'apply' | 'check'): Promise<MigrationReport>;
  simulateRegion(options: SimulatedRegionOptions): Promise<number>;
}
