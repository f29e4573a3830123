/** Every environment variable, in one table: the reader, `.env.example` and the documentation are made from it. */
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../model/time.ts';
import { formatDuration } from '../model/units.ts';
import { waitMs } from '../model/waits.ts';

export interface VariableDoc {
  readonly name: string;
  /** As a user would write it; null = not set. */
  readonly default: string | null;
  /** What the default stands for when it is not a plain value. */
  readonly defaultMeaning?: string;
  readonly meaning: string;
  /** Secrets are never shown, and may be given as `<name>_FILE` instead. */
  readonly secret: boolean;
  /** Read by the AWS SDK itself, not by Spillway. */
  readonly passThrough: boolean;
}

interface Interval {
  readonly minMs: number;
  readonly maxMs: number;
}

/**
 * What each interval may be. The lower ends keep a slip from turning a loop into a busy one. Looks at the cloud are at most
 * a minute apart, because a picture of it older than two minutes holds every drain, and nothing would ever be let go.
 */
export const INTERVALS = {
  SPILLWAY_PLAN_INTERVAL: { minMs: 100, maxMs: HOUR_MS },
  SPILLWAY_OBSERVE_INTERVAL: { minMs: 100, maxMs: MINUTE_MS },
  SPILLWAY_HEARTBEAT_INTERVAL: { minMs: 100, maxMs: 10 * MINUTE_MS },
  SPILLWAY_TASK_LEASE: { minMs: SECOND_MS, maxMs: DAY_MS },
  SPILLWAY_RETENTION: { minMs: HOUR_MS, maxMs: 3650 * DAY_MS },
  SPILLWAY_AWS_REQUEST_TIMEOUT: { minMs: 100, maxMs: 5 * MINUTE_MS },
} as const satisfies Record<string, Interval>;

const own = { secret: false, passThrough: false } as const;
const secret = { secret: true, passThrough: false } as const;
const sdk = { default: null, secret: false, passThrough: true } as const;

export const VARIABLES = [
  {
    ...secret,
    name: 'DATABASE_URL',
    default: null,
    defaultMeaning: 'embedded Postgres in SPILLWAY_DATA_DIR',
    meaning: 'Postgres 14 or newer, e.g. postgres://spillway@db.example/spillway?sslmode=verify-full',
  },
  {
    ...secret,
    name: 'QUEUE_URL',
    default: null,
    defaultMeaning: 'the queue lives in Postgres',
    meaning: 'Redis 6.2 or newer with maxmemory-policy noeviction, e.g. rediss://queue.example:6379',
  },
  {
    ...own,
    name: 'SPILLWAY_DATA_DIR',
    default: '.spillway',
    meaning: 'Folder of embedded Postgres, socket and deployment key',
  },
  {
    ...own,
    name: 'SPILLWAY_POLICIES',
    default: 'policies',
    meaning: 'Folder of the policies (*.yaml, *.yml), or one file',
  },
  {
    ...own,
    name: 'SPILLWAY_LISTEN',
    default: '127.0.0.1:7777',
    meaning: 'Where the operator API, health and metrics listen; port 0 takes any free one',
  },
  {
    ...own,
    name: 'SPILLWAY_AGENT_LISTEN',
    default: '127.0.0.1:7778',
    meaning: 'Where the API for agents listens; port 0 takes any free one',
  },
  {
    ...own,
    name: 'SPILLWAY_AGENT_URL',
    default: null,
    defaultMeaning: 'http:// and SPILLWAY_AGENT_LISTEN',
    meaning: 'Address at which agents reach SPILLWAY_AGENT_LISTEN, through whatever proxy or VPN there is',
  },
  {
    ...own,
    name: 'SPILLWAY_AGENT_ALLOW_HTTP',
    default: 'false',
    meaning:
      'true lets cloud agents use an http:// address beyond loopback: your word that the route to them is private',
  },
  {
    ...own,
    name: 'SPILLWAY_SOCKET',
    default: null,
    defaultMeaning: 'spillway.sock in SPILLWAY_DATA_DIR',
    meaning: 'Unix socket through which the command line on the same host speaks to the service',
  },
  {
    ...own,
    name: 'SPILLWAY_ADDR',
    default: null,
    defaultMeaning: 'SPILLWAY_SOCKET',
    meaning: 'Service that the command line speaks to, e.g. https://spillway.example:7777',
  },
  {
    ...own,
    name: 'SPILLWAY_KEY_FILE',
    default: null,
    defaultMeaning: 'deployment.key in SPILLWAY_DATA_DIR',
    meaning: 'File of the deployment key, 32 bytes as 64 hex digits; made on the first start when it is missing',
  },
  {
    ...own,
    name: 'SPILLWAY_WITNESS_FILE',
    default: null,
    defaultMeaning: 'witness.json in SPILLWAY_DATA_DIR',
    meaning:
      'What this service saw the database acknowledge, on a disk of its own: it tells a database that lost commits; one per service',
  },
  {
    ...own,
    name: 'SSH_AUTH_SOCK',
    default: null,
    meaning: 'Socket of the SSH agent, for policies with `identity: { agent: true }`',
  },
  {
    ...own,
    name: 'SPILLWAY_OWNER',
    default: null,
    defaultMeaning: 'generated once and kept in the database',
    meaning: 'Name of this installation: the owner tag of everything it launches',
  },
  {
    ...own,
    name: 'SPILLWAY_LOG_LEVEL',
    default: 'info',
    meaning: 'trace, debug, info, warn, error, fatal or silent',
  },
  { ...own, name: 'SPILLWAY_PLAN_INTERVAL', default: '5s', meaning: 'Time between two plans' },
  {
    ...own,
    name: 'SPILLWAY_OBSERVE_INTERVAL',
    default: '10s',
    meaning: 'Time between two looks at the cloud and the queues',
  },
  { ...own, name: 'SPILLWAY_HEARTBEAT_INTERVAL', default: '10s', meaning: 'Time between two reports of an agent' },
  {
    ...own,
    name: 'SPILLWAY_TASK_LEASE',
    default: '60s',
    meaning:
      'An agent that is silent for so long loses its tasks to others; at least three times SPILLWAY_HEARTBEAT_INTERVAL',
  },
  { ...own, name: 'SPILLWAY_RETENTION', default: '14d', meaning: 'How long samples are kept' },
  {
    ...own,
    name: 'SPILLWAY_AWS_REQUEST_TIMEOUT',
    default: formatDuration(waitMs('aws.request')),
    meaning: 'Deadline of one request to AWS',
  },
  { ...sdk, name: 'AWS_REGION', meaning: 'Region of calls that no policy decides' },
  { ...sdk, name: 'AWS_PROFILE', meaning: 'Profile in ~/.aws/config' },
  {
    ...sdk,
    name: 'AWS_ENDPOINT_URL_EC2',
    meaning: 'Another endpoint that speaks the EC2 API, e.g. the simulated region',
  },
  {
    ...sdk,
    name: 'AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT',
    meaning:
      'The same for EC2 Instance Connect, which policies with instanceConnect use; the simulated region speaks both',
  },
  { ...sdk, name: 'AWS_ACCESS_KEY_ID', meaning: 'Access key; better use a profile or a role' },
  {
    ...sdk,
    secret: true,
    name: 'AWS_SECRET_ACCESS_KEY',
    meaning: 'Secret of the access key; better use a profile or a role',
  },
] as const satisfies readonly VariableDoc[];

export type VariableName = (typeof VARIABLES)[number]['name'];

/**
 * Variables of ours that the service does not read, so that they are not mistaken for misspelt settings: those of the
 * agent (which may run on the service's host), those that tasks get, and those of tests and benchmarks.
 */
export const FOREIGN_VARIABLES: readonly string[] = [
  'SPILLWAY_ALLOW_HTTP',
  'SPILLWAY_ARCH',
  'SPILLWAY_CA_FILE',
  'SPILLWAY_CHECKPOINT_S',
  'SPILLWAY_CLIENT',
  'SPILLWAY_CPUS',
  'SPILLWAY_DEADMAN_S',
  'SPILLWAY_DEADMAN_TASKS',
  'SPILLWAY_ENROL_TOKEN',
  'SPILLWAY_GPUS',
  'SPILLWAY_HOLD_S',
  'SPILLWAY_IMDS',
  'SPILLWAY_LABELS',
  'SPILLWAY_MEMORY_MIB',
  'SPILLWAY_NAME',
  'SPILLWAY_PROBE',
  'SPILLWAY_SHUTDOWN',
  'SPILLWAY_STATE_DIR',
  'SPILLWAY_URL',
  'SPILLWAY_USED',
  'SPILLWAY_PROGRESS_FILE',
  'SPILLWAY_TASK_ATTEMPT',
  'SPILLWAY_TASK_ID',
  'SPILLWAY_SIMULATED_INSTANCE',
  'SPILLWAY_CATALOGUE',
  'SPILLWAY_TEST_KEEP',
  'SPILLWAY_TRACES',
];

/** Secrets of ours may stand in a file instead, as container platforms hand them out. */
export function hasFileForm(variable: VariableDoc): boolean {
  return variable.secret && !variable.passThrough;
}
