import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { AppError, describeError } from '../../model/errors.ts';
import { MINUTE_MS, SECOND_MS } from '../../model/time.ts';
import { waitMs } from '../../model/waits.ts';
import { parseDuration, quoteValue } from '../../model/units.ts';
import type { ShellLogin } from '../../ports/shell.ts';
import type { Options } from '../options.ts';
import { parseLabels, parseUnit, usage } from '../options.ts';
import type { Column } from '../output/table.ts';
import type { CommandContext, CommandSpec } from '../types.ts';
import { installHost, type InstallHost, type Installation } from './install-host.ts';
import { AGENT_REASON_OPTION } from './orders.ts';

interface InstallResult {
  readonly host: string;
  /** `reporting` or the code of what went wrong. */
  readonly result: string;
  readonly agentId: string | null;
  readonly manager: string | null;
  readonly problem: string | null;
}

const COLUMNS: readonly Column<InstallResult>[] = [
  { header: 'HOST', raw: (row) => row.host },
  { header: 'RESULT', raw: (row) => row.result },
  { header: 'AGENT', raw: (row) => row.agentId },
  { header: 'SYSTEMD', raw: (row) => row.manager },
  { header: 'PROBLEM', raw: (row) => row.problem },
];

export const agentInstall: CommandSpec = {
  path: 'agent install',
  summary: 'Put agents on machines of the datacenter over SSH, and wait for their first reports',
  description:
    'The agent is one small shell file in ~/.spillway-agent of the user who logs in, and tasks run as that user. Under systemd it gets a unit, else a session of its own. Installing again replaces a running agent and keeps its identity and its tasks.',
  arguments: [
    { name: 'USER@HOST', summary: 'where to log in; USER@HOST:PORT for another port than 22', variadic: true },
  ],
  options: [
    {
      name: 'label',
      short: 'l',
      value: 'KEY=VALUE',
      summary: 'label of the agents, as policies select them',
      repeatable: true,
    },
    {
      name: 'identity',
      short: 'i',
      value: 'FILE',
      summary: 'private key to log in with; default: the keys of the SSH agent',
    },
    { name: 'known-hosts', value: 'FILE', summary: 'keys of the hosts; default: ~/.ssh/known_hosts' },
    {
      name: 'host-key',
      value: 'MODE',
      summary: 'known: only hosts in that file; accept-new: others are added to it, unseen, at first contact',
      default: 'known',
      choices: ['known', 'accept-new'],
    },
    { name: 'ca-file', value: 'FILE', summary: 'the one CA that may vouch for the service' },
    { name: 'allow-http', summary: 'the service may be reached over http:// on a private route' },
    AGENT_REASON_OPTION,
    { name: 'jobs', value: 'N', summary: 'hosts at a time, at most 64', default: '8' },
    { name: 'timeout', value: 'DURATION', summary: 'for the first report of each, at most 10m; default 1m' },
  ],
  examples: [
    { command: 'spillway agent install -l pool=render ops@rack-1 ops@rack-2', summary: 'two machines' },
    { command: 'spillway agent install -i ~/.ssh/id_ed25519 -o json ops@10.0.0.7:2222', summary: 'for a program' },
  ],
  output: 'list',
  exitCodes: [6, 7],
  seeAlso: ['agent list', 'agent enrol'],
  async run(context) {
    const hosts = [...new Set(context.args)].map(parseHost);
    const jobs = context.options.integer('jobs', { min: 1, max: 64 }) ?? 8;
    const installation = await prepare(context);
    const outcomes: Outcome[] = [];
    const waiting = hosts.values();
    await Promise.all(
      Array.from({ length: Math.min(jobs, hosts.length) }, async () => {
        for (const host of waiting) outcomes.push(await installOne(context, installation, host));
      }),
    );
    const order = new Map(hosts.map(({ host }, index) => [host, index]));
    outcomes.sort((a, b) => (order.get(a.row.host) ?? 0) - (order.get(b.row.host) ?? 0));
    await context.output.list({
      kind: 'AgentInstallList',
      items: outcomes.map(({ row }) => row),
      columns: COLUMNS,
      name: ({ agentId, host }) => agentId ?? host,
      empty: 'nothing was installed',
    });
    for (const { error } of outcomes) if (error !== null) throw error;
    return 0;
  },
};

interface Outcome {
  readonly row: InstallResult;
  readonly error: AppError | null;
}

async function installOne(
  { options, wiring, output }: CommandContext,
  on: Installation,
  host: InstallHost,
): Promise<Outcome> {
  try {
    if (options.text('host-key') === 'accept-new') {
      const fingerprint = await wiring.acceptNewHost(on.knownHosts, host);
      if (fingerprint !== null) output.hint(`${host.host}: its key ${fingerprint} is trusted from now on`);
    }
    const { agentId, manager } = await installHost(on, host);
    return { row: { host: host.host, result: 'reporting', agentId, manager, problem: null }, error: null };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const row = { host: host.host, result: error.code, agentId: null, manager: null, problem: describeError(error) };
    return { row, error };
  }
}

async function prepare(context: CommandContext): Promise<Installation> {
  const { options, wiring, signal, output, nowMs } = context;
  const timeout = options.text('timeout');
  const reportMs = timeout === null ? waitMs('cli.install-report') : parseUnit('timeout', timeout, parseDuration);
  if (reportMs < SECOND_MS || reportMs > 10 * MINUTE_MS)
    throw usage('--timeout must be from 1s to 10m', 'write --timeout 1m');
  const labels = parseLabels('label', options.list('label'));
  const config = await wiring.readConfig();
  const caFile = options.text('ca-file');
  return {
    shell: await wiring.openShell(config),
    service: await context.client(),
    script: await wiring.readAgentScript(),
    labels,
    orderer: { by: wiring.userName(), reason: options.text('reason') },
    login: loginOf(options, config.sshAuthSock),
    knownHosts: resolve(options.text('known-hosts') ?? join(homedir(), '.ssh', 'known_hosts')),
    caPem: caFile === null ? null : await readCa(caFile),
    allowHttp: options.isSet('allow-http'),
    reportMs,
    nowMs,
    sleep: async (ms) => await wiring.sleep(ms, signal),
    tell: (text) => output.hint(text),
  };
}

function loginOf(options: Options, agentSocket: string | null): ShellLogin {
  const file = options.text('identity');
  if (file !== null) return { kind: 'file', file: resolve(file) };
  if (agentSocket !== null) return { kind: 'agent', socket: agentSocket };
  throw usage('there is nothing to log in with: SSH_AUTH_SOCK is not set', 'name a private key with --identity FILE');
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new AppError('INPUT_UNREADABLE', `cannot read the CA ${file}`, {
      remedy: 'check the path and its rights',
      cause,
    });
  }
}

/** A name or address that no program takes for an option, and the agent takes as its name. */
const HOST = /^([a-z_][a-z0-9_-]{0,31})@([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::([1-9]\d{0,4}))?$/;

function parseHost(text: string): InstallHost {
  const [, user, host, port = '22'] = HOST.exec(text) ?? [];
  if (user === undefined || host === undefined || Number(port) > 65_535)
    throw usage(`${quoteValue(text)} is not USER@HOST or USER@HOST:PORT`, 'write ops@rack-1 or ops@10.0.0.7:2222');
  return { user, host, port: Number(port) };
}
