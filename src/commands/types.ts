import type { Config } from '../config/types.ts';
import type { History, HistoryRequest } from '../ports/history.ts';
import type { Shell } from '../ports/shell.ts';
import type { NameKind } from '../ports/names.ts';
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
  /** Its value is such a name. */
  readonly names?: NameKind;
}

export interface ArgumentSpec {
  /** Upper-case, e.g. `FILE`. */
  readonly name: string;
  readonly summary: string;
  readonly variadic?: boolean;
  readonly optional?: boolean;
  /** It is such a name. */
  readonly names?: NameKind;
}

export interface Example {
  /** Without the `$`; a whole command line. */
  readonly command: string;
  readonly summary: string;
}

/**
 * `list`: rows, every form of output. `object`: one thing, no CSV and no names. `report`: one thing that can be a web page, too.
 * `none`: nothing on standard output to format.
 */
export type OutputShape = 'list' | 'object' | 'report' | 'none';

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
  /** The running service. Reads the configuration, connects with the first request. @param requestMs for one answer */
  client(requestMs?: number): Promise<ServiceClient>;
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

/** What to simulate; see `simulate chaos`. */
export interface ChaosRequest {
  readonly seeds: { readonly first: number; readonly last: number };
  /** Simulated hours with faults, per seed. */
  readonly hours: number;
  /** Only these faults; null = all that a seed has. */
  readonly only: readonly string[] | null;
  readonly repeat: number;
  readonly shrink: boolean;
  readonly untilViolation: boolean;
  /** Real milliseconds after which no further seed is begun; null = never. */
  readonly budgetMs: number | null;
  readonly shards?: number;
  readonly adminUrls?: readonly string[];
}

export interface ChaosSeedResult {
  readonly seed: number;
  readonly digest: string;
  readonly simulatedMs: number;
  readonly faults: readonly string[];
  readonly violation: { readonly rule: string; readonly message: string } | null;
}

/** The first six keys are the promise to scripts. */
export interface ChaosReport {
  readonly simulatedHours: number;
  readonly faultsInjected: number;
  readonly transitionsCovered: number;
  readonly transitionsTotal: number;
  readonly violations: number;
  readonly digest: string;
  readonly seeds: number;
  readonly failures: readonly {
    readonly seed: number;
    readonly rule: string;
    readonly message: string;
    readonly faults: readonly string[];
  }[];
  readonly slowestRecoveryMinutes: number;
  readonly tookS: number;
}

export interface ChaosHooks {
  readonly signal: AbortSignal;
  readonly onSeed: (done: {
    readonly result: ChaosSeedResult;
    readonly finished: number;
    readonly wanted: number;
  }) => void;
}

/**
 * What only `cli.ts` may reach: the composition root, adapters, the environment. Each is loaded when it is called,
 * so that a command pays for nothing it does not use.
 */
export interface CliWiring {
  readConfig(): Promise<Config>;
  /** Resolves after `ms`; rejects when the signal aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Who runs the command, as the operating system says. */
  userName(): string;
  /** True for a yes on the terminal; null: nobody could be asked. */
  confirm(question: string, signal: AbortSignal): Promise<boolean | null>;
  runService(config: Config): Promise<number>;
  migrate(config: Config, mode: 'apply' | 'check'): Promise<MigrationReport>;
  /** SSH to machines of the user's. */
  openShell(config: Config): Promise<Shell>;
  readAgentScript(): Promise<string>;
  /** Adds a host to a known_hosts file that does not know it; its fingerprint, or null when it is known. */
  acceptNewHost(file: string, host: { readonly host: string; readonly port: number }): Promise<string | null>;
  /** The past as the configured database remembers it. */
  readHistory(config: Config, request: HistoryRequest, signal: AbortSignal): Promise<History>;
  simulateRegion(options: SimulatedRegionOptions): Promise<number>;
  simulateChaos(request: ChaosRequest, hooks: ChaosHooks): Promise<ChaosReport>;
}
