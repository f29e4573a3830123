export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface ListenAddress {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
}

/** Everything the environment can say, validated and frozen. Paths are absolute, durations milliseconds. */
export interface Config {
  /** Null = embedded Postgres in `dataDir`. Holds a password: log it through `redactUrl` only. */
  readonly databaseUrl: string | null;
  /** `redis://` or `rediss://`; null = BullMQ on Postgres. May hold a password: log it through `redactUrl` only. */
  readonly queueUrl: string | null;
  /** Where embedded Postgres, the socket and the deployment key live unless they are set apart. */
  readonly dataDir: string;
  /** A folder with `*.yaml` policies, or one file. */
  readonly policiesPath: string;
  /** Operator API, health, metrics. */
  readonly listen: ListenAddress;
  /** The API that agents speak to. */
  readonly agentListen: ListenAddress;
  /** Where agents reach `agentListen`, without a trailing slash. */
  readonly agentUrl: string;
  /** Whether cloud agents may use http:// beyond loopback. */
  readonly agentAllowHttp: boolean;
  /** Unix socket of the operator API for a CLI on the same host. */
  readonly socketPath: string;
  /** Service the CLI talks to, without a trailing slash; null = `socketPath`. */
  readonly serviceUrl: string | null;
  /** 32 random bytes as 64 hex digits; made on first start when missing. */
  readonly keyFile: string;
  /** What this service saw the database acknowledge. */
  readonly witnessFile: string;
  /** Socket of the SSH agent; null = there is none. */
  readonly sshAuthSock: string | null;
  /** Owner tag of everything launched; null = generated once and kept in the database. */
  readonly owner: string | null;
  readonly logLevel: LogLevel;
  readonly planIntervalMs: number;
  readonly observeIntervalMs: number;
  readonly heartbeatIntervalMs: number;
  /** An agent silent for this long loses its tasks. */
  readonly taskLeaseMs: number;
  /** Samples older than this are deleted. */
  readonly retentionMs: number;
  /** Deadline of one HTTP request to AWS. */
  readonly awsRequestTimeoutMs: number;
  /** Where each variable's value came from, by variable name. */
  readonly origins: Readonly<Record<string, ConfigOrigin>>;
}

/** `default`: not set; `environment`: the variable; `file`: the file that its `_FILE` form names. */
export type ConfigOrigin = 'default' | 'environment' | 'file';
