/** The only place where the environment is read. */
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { AppError } from '../model/errors.ts';
import { formatDuration, nearestWord } from '../model/units.ts';
import type { UnitResult } from '../model/units.ts';
import {
  formatListen,
  parseInterval,
  parseListen,
  parseLogLevel,
  parseOwner,
  parsePath,
  parseServiceUrl,
  parseSocketPath,
  parseSwitch,
  parseUrl,
} from './parsers.ts';
import type { Config, ConfigOrigin } from './types.ts';
import { FOREIGN_VARIABLES, INTERVALS, VARIABLES, hasFileForm } from './variables.ts';
import type { VariableDoc, VariableName } from './variables.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface ReadConfigOptions {
  /** Where relative paths start. Default: the working directory. */
  readonly cwd?: string;
}

interface Problem {
  readonly variable: string;
  readonly problem: string;
  readonly fix: string;
}

/** A connection URL fits in far less; the bound keeps a mistaken path from being read whole. */
const SECRET_FILE_BYTES_MAX = 16 * 1024;

/**
 * Reads and checks every setting. An empty variable counts as not set. Throws `CONFIG_INVALID` with all that is wrong;
 * no message holds the value of a secret.
 */
export function readConfig(env: Environment = process.env, options: ReadConfigOptions = {}): Config {
  const cwd = options.cwd ?? process.cwd();
  const gathered = gatherValues(env, cwd);
  const parsed = configSchema(cwd).safeParse(gathered.values);
  const invalid = parsed.success ? [] : parsed.error.issues.map(problemOf);
  const named = new Set(gathered.problems.map((problem) => problem.variable));
  const problems = [...gathered.problems, ...invalid.filter((problem) => !named.has(problem.variable))];
  if (parsed.success) problems.push(...crossProblems(parsed.data));
  if (problems.length > 0 || !parsed.success) throw configInvalid(problems);
  return toConfig(parsed.data, gathered.origins);
}

interface Gathered {
  readonly values: Readonly<Record<string, string>>;
  readonly origins: Readonly<Record<string, ConfigOrigin>>;
  readonly problems: readonly Problem[];
}

function gatherValues(env: Environment, cwd: string): Gathered {
  const values: Record<string, string> = {};
  const origins: Record<string, ConfigOrigin> = {};
  const problems: Problem[] = unknownVariables(env);
  for (const variable of VARIABLES) {
    const { origin, name, value } = gatherValue(env, variable, cwd);
    origins[variable.name] = origin;
    if (value === null) continue;
    if (value.ok) values[variable.name] = value.value;
    else problems.push({ variable: name, problem: value.problem, fix: value.fix });
  }
  return { values, origins, problems };
}

interface GatheredValue {
  readonly origin: ConfigOrigin;
  /** The variable that a problem is about. */
  readonly name: string;
  readonly value: UnitResult<string> | null;
}

function gatherValue(env: Environment, variable: VariableDoc, cwd: string): GatheredValue {
  const { name } = variable;
  const own = env[name] ?? '';
  const file = hasFileForm(variable) ? (env[`${name}_FILE`] ?? '') : '';
  if (own !== '') return { origin: 'environment', name, value: file === '' ? { ok: true, value: own } : BOTH_FORMS };
  if (file !== '') return { origin: 'file', name: `${name}_FILE`, value: readSecretFile(path.resolve(cwd, file)) };
  return { origin: 'default', name, value: variable.default === null ? null : { ok: true, value: variable.default } };
}

const BOTH_FORMS = { ok: false, problem: 'is set, and so is its _FILE form', fix: 'keep one of the two' } as const;

function unknownVariables(env: Environment): Problem[] {
  const known = VARIABLES.flatMap((variable: VariableDoc) =>
    hasFileForm(variable) ? [variable.name, `${variable.name}_FILE`] : [variable.name],
  );
  const unknown = Object.keys(env).filter(
    (name) => name.startsWith('SPILLWAY_') && !known.includes(name) && !FOREIGN_VARIABLES.includes(name),
  );
  return unknown.toSorted().map((variable) => {
    const meant = nearestWord(variable, known);
    const fix = meant === null ? 'unset it; .env.example lists every variable' : `did you mean ${meant}?`;
    return { variable, problem: 'is not a variable of Spillway', fix };
  });
}

function readSecretFile(file: string): UnitResult<string> {
  const fix = 'name a readable file that holds the value and nothing else';
  try {
    const { size } = statSync(file);
    if (size > SECRET_FILE_BYTES_MAX)
      return { ok: false, problem: `${file} has ${size} bytes, too many for a setting`, fix };
    const value = readFileSync(file, 'utf8').trim();
    return value === '' ? { ok: false, problem: `${file} is empty`, fix } : { ok: true, value };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    return { ok: false, problem: `${file} cannot be read (${code})`, fix };
  }
}

/** A setting read by one of the parsers; problem and fix travel through zod as a custom issue. */
function setting<T>(parse: (text: string) => UnitResult<T>) {
  return z.string().transform((text, context): T => {
    const result = parse(text);
    if (result.ok) return result.value;
    context.addIssue({ code: 'custom', message: result.problem, params: { fix: result.fix } });
    return z.NEVER;
  });
}

function interval(name: keyof typeof INTERVALS) {
  const { minMs, maxMs } = INTERVALS[name];
  return setting((text) => parseInterval(text, minMs, maxMs));
}

function configSchema(cwd: string) {
  const file = setting((text) => parsePath(text, cwd));
  const listen = setting(parseListen);
  return z.object({
    DATABASE_URL: setting((text) =>
      parseUrl(text, ['postgres:', 'postgresql:'], 'postgres://user:password@host:5432/database'),
    ).optional(),
    QUEUE_URL: setting((text) => parseUrl(text, ['redis:', 'rediss:'], 'redis://host:6379')).optional(),
    SPILLWAY_DATA_DIR: file,
    SPILLWAY_POLICIES: file,
    SPILLWAY_LISTEN: listen,
    SPILLWAY_AGENT_LISTEN: listen,
    SPILLWAY_AGENT_URL: setting(parseServiceUrl).optional(),
    SPILLWAY_AGENT_ALLOW_HTTP: setting(parseSwitch),
    SPILLWAY_SOCKET: setting((text) => parseSocketPath(text, cwd)).optional(),
    SPILLWAY_ADDR: setting(parseServiceUrl).optional(),
    SPILLWAY_KEY_FILE: file.optional(),
    SPILLWAY_WITNESS_FILE: file.optional(),
    SSH_AUTH_SOCK: file.optional(),
    SPILLWAY_OWNER: setting(parseOwner).optional(),
    SPILLWAY_LOG_LEVEL: setting(parseLogLevel),
    SPILLWAY_PLAN_INTERVAL: interval('SPILLWAY_PLAN_INTERVAL'),
    SPILLWAY_OBSERVE_INTERVAL: interval('SPILLWAY_OBSERVE_INTERVAL'),
    SPILLWAY_HEARTBEAT_INTERVAL: interval('SPILLWAY_HEARTBEAT_INTERVAL'),
    SPILLWAY_TASK_LEASE: interval('SPILLWAY_TASK_LEASE'),
    SPILLWAY_RETENTION: interval('SPILLWAY_RETENTION'),
    SPILLWAY_AWS_REQUEST_TIMEOUT: interval('SPILLWAY_AWS_REQUEST_TIMEOUT'),
  } satisfies Partial<Record<VariableName, z.ZodType>>);
}

type Settings = z.output<ReturnType<typeof configSchema>>;

function problemOf(issue: z.core.$ZodIssue): Problem {
  const fix: unknown = issue.code === 'custom' ? issue.params?.['fix'] : undefined;
  return { variable: String(issue.path[0]), problem: issue.message, fix: typeof fix === 'string' ? fix : 'correct it' };
}

function crossProblems(settings: Settings): Problem[] {
  const problems: Problem[] = [];
  const { SPILLWAY_LISTEN: listen, SPILLWAY_AGENT_LISTEN: agentListen } = settings;
  if (listen.port !== 0 && formatListen(listen) === formatListen(agentListen)) {
    problems.push({
      variable: 'SPILLWAY_AGENT_LISTEN',
      problem: 'is the same as SPILLWAY_LISTEN',
      fix: 'give one of them another port',
    });
  }
  // The agent ends its tasks after two thirds of the lease: with three heartbeats it has one report to lose.
  const leaseMinMs = 3 * settings.SPILLWAY_HEARTBEAT_INTERVAL;
  if (settings.SPILLWAY_TASK_LEASE < leaseMinMs) {
    const problem = 'is shorter than three heartbeats, so that one lost report would cost an agent its tasks';
    problems.push({ variable: 'SPILLWAY_TASK_LEASE', problem, fix: `write at least ${formatDuration(leaseMinMs)}` });
  }
  const socket = socketOf(settings);
  if (!socket.ok)
    problems.push({
      variable: 'SPILLWAY_SOCKET',
      problem: `is not set, and SPILLWAY_DATA_DIR ${socket.problem}`,
      fix: socket.fix,
    });
  return problems;
}

function socketOf(settings: Settings): UnitResult<string> {
  if (settings.SPILLWAY_SOCKET !== undefined) return { ok: true, value: settings.SPILLWAY_SOCKET };
  return parseSocketPath('spillway.sock', settings.SPILLWAY_DATA_DIR);
}

function toConfig(settings: Settings, origins: Gathered['origins']): Config {
  const socket = socketOf(settings);
  return Object.freeze({
    databaseUrl: settings.DATABASE_URL ?? null,
    queueUrl: settings.QUEUE_URL ?? null,
    dataDir: settings.SPILLWAY_DATA_DIR,
    policiesPath: settings.SPILLWAY_POLICIES,
    listen: Object.freeze(settings.SPILLWAY_LISTEN),
    agentListen: Object.freeze(settings.SPILLWAY_AGENT_LISTEN),
    agentUrl: settings.SPILLWAY_AGENT_URL ?? `http://${formatListen(settings.SPILLWAY_AGENT_LISTEN)}`,
    agentAllowHttp: settings.SPILLWAY_AGENT_ALLOW_HTTP,
    socketPath: socket.ok ? socket.value : path.join(settings.SPILLWAY_DATA_DIR, 'spillway.sock'),
    serviceUrl: settings.SPILLWAY_ADDR ?? null,
    keyFile: settings.SPILLWAY_KEY_FILE ?? path.join(settings.SPILLWAY_DATA_DIR, 'deployment.key'),
    witnessFile: settings.SPILLWAY_WITNESS_FILE ?? path.join(settings.SPILLWAY_DATA_DIR, 'witness.json'),
    sshAuthSock: settings.SSH_AUTH_SOCK ?? null,
    owner: settings.SPILLWAY_OWNER ?? null,
    logLevel: settings.SPILLWAY_LOG_LEVEL,
    planIntervalMs: settings.SPILLWAY_PLAN_INTERVAL,
    observeIntervalMs: settings.SPILLWAY_OBSERVE_INTERVAL,
    heartbeatIntervalMs: settings.SPILLWAY_HEARTBEAT_INTERVAL,
    taskLeaseMs: settings.SPILLWAY_TASK_LEASE,
    retentionMs: settings.SPILLWAY_RETENTION,
    awsRequestTimeoutMs: settings.SPILLWAY_AWS_REQUEST_TIMEOUT,
    origins: Object.freeze(origins),
  });
}

function configInvalid(problems: readonly Problem[]): AppError {
  const said = problems.map(
    ({ variable, problem }) => `${variable} ${/^["\d]/.test(problem) ? `is wrong: ${problem}` : problem}`,
  );
  const remedies = problems.map(({ variable, fix }) => (problems.length === 1 ? fix : `${variable}: ${fix}`));
  return new AppError('CONFIG_INVALID', said.join('; '), { remedy: remedies.join('; '), details: { problems } });
}
