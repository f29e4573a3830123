import type { Config } from '../../config/types.ts';
import type { Column } from '../output/table.ts';
import type { CommandSpec } from '../types.ts';

interface Setting {
  readonly name: string;
  readonly value: string | null;
  readonly origin: string;
  readonly meaning: string;
}

const COLUMNS: readonly Column<Setting>[] = [
  { header: 'NAME', raw: (setting) => setting.name },
  { header: 'VALUE', raw: (setting) => setting.value },
  { header: 'ORIGIN', raw: (setting) => setting.origin },
  { header: 'MEANING', wide: true, raw: (setting) => setting.meaning },
];

export const configShow: CommandSpec = {
  path: 'config show',
  summary: 'Show every setting, its value and where that came from',
  description: 'Reads the environment of this command; no service is asked. Passwords are left out.',
  examples: [
    { command: 'spillway config show', summary: 'what `spillway serve` would run with' },
    { command: 'spillway config show -o json', summary: 'for a program' },
  ],
  output: 'list',
  seeAlso: ['serve', 'help environment'],
  async run({ wiring, output }) {
    const { VARIABLES } = await import('../../config/variables.ts');
    const values = await effectiveValues(await wiring.readConfig());
    const { origins } = values;
    const items = VARIABLES.filter((variable) => variable.name in values.byName).map((variable) => ({
      name: variable.name,
      value: values.byName[variable.name] ?? null,
      origin: origins[variable.name] ?? 'default',
      meaning: variable.meaning,
    }));
    await output.list({
      kind: 'SettingList',
      items,
      columns: COLUMNS,
      name: (setting) => setting.name,
      empty: 'there are no settings',
    });
    return 0;
  },
};

async function effectiveValues(
  config: Config,
): Promise<{ byName: Readonly<Record<string, string | null>>; origins: Config['origins'] }> {
  const { redactUrl } = await import('../../config/redact-url.ts');
  const { formatDuration } = await import('../../model/units.ts');
  const url = (value: string | null): string | null => (value === null ? null : redactUrl(value));
  const byName = {
    DATABASE_URL: url(config.databaseUrl),
    QUEUE_URL: url(config.queueUrl),
    SPILLWAY_DATA_DIR: config.dataDir,
    SPILLWAY_POLICIES: config.policiesPath,
    SPILLWAY_LISTEN: listenText(config.listen),
    SPILLWAY_AGENT_LISTEN: listenText(config.agentListen),
    SPILLWAY_AGENT_URL: config.agentUrl,
    SPILLWAY_AGENT_ALLOW_HTTP: String(config.agentAllowHttp),
    SPILLWAY_SOCKET: config.socketPath,
    SPILLWAY_ADDR: url(config.serviceUrl),
    SPILLWAY_KEY_FILE: config.keyFile,
    SPILLWAY_WITNESS_FILE: config.witnessFile,
    SSH_AUTH_SOCK: config.sshAuthSock,
    SPILLWAY_OWNER: config.owner,
    SPILLWAY_LOG_LEVEL: config.logLevel,
    SPILLWAY_PLAN_INTERVAL: formatDuration(config.planIntervalMs),
    SPILLWAY_OBSERVE_INTERVAL: formatDuration(config.observeIntervalMs),
    SPILLWAY_HEARTBEAT_INTERVAL: formatDuration(config.heartbeatIntervalMs),
    SPILLWAY_TASK_LEASE: formatDuration(config.taskLeaseMs),
    SPILLWAY_RETENTION: formatDuration(config.retentionMs),
    SPILLWAY_AWS_REQUEST_TIMEOUT: formatDuration(config.awsRequestTimeoutMs),
  };
  return { byName, origins: config.origins };
}

function listenText({ host, port }: Config['listen']): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
