import { DAY_MS, MINUTE_MS } from '../../model/time.ts';
import { parseDuration } from '../../model/units.ts';
import { parseLabels, parseUnit, usage } from '../options.ts';
import type { CommandSpec } from '../types.ts';
import { AGENT_REASON_OPTION } from './orders.ts';

interface Enrolment {
  readonly token: string;
  readonly expiresAt: string;
  readonly agentUrl: string;
}

export const agentEnrol: CommandSpec = {
  path: 'agent enrol',
  summary: 'Make a one-time token with which one agent may register',
  description:
    'The token is shown once and kept only as a hash. Put it where only the agent can read it; it opens nothing after its first use.',
  options: [
    {
      name: 'label',
      short: 'l',
      value: 'KEY=VALUE',
      summary: 'label of the agent, as policies select it',
      repeatable: true,
    },
    {
      name: 'expires',
      value: 'DURATION',
      summary: 'how long the token may wait for its use, at most 7d',
      default: '1h',
    },
    {
      name: 'state-dir',
      value: 'PATH',
      summary: 'with --env: where the agent keeps its identity and tasks',
      default: '/var/lib/spillway-agent',
    },
    AGENT_REASON_OPTION,
    { name: 'env', summary: "print the agent's environment file instead of the bare token" },
  ],
  examples: [
    {
      command: 'umask 077; spillway agent enrol --label pool=media --env > agent.env',
      summary: 'what a new agent needs',
    },
    { command: 'spillway agent enrol -l pool=media --expires 10m -o json', summary: 'for a program' },
  ],
  output: 'object',
  exitCodes: [5],
  seeAlso: ['agent list'],
  async run({ options, output, client, wiring }) {
    const labels = parseLabels('label', options.list('label'));
    const ttlMs = parseUnit('expires', options.text('expires') ?? '1h', parseDuration);
    if (ttlMs < MINUTE_MS || ttlMs > 7 * DAY_MS) throw usage('--expires must be from 1m to 7d', 'write --expires 1h');
    const stateDir = options.text('state-dir') ?? '';
    if (!stateDir.startsWith('/'))
      throw usage('--state-dir must be an absolute path', 'write --state-dir /var/lib/spillway-agent');
    const order = { by: wiring.userName(), reason: options.text('reason') };
    const enrolment = await (
      await client()
    ).post<Enrolment>('Enrolment', '/v1/enrolments', { ...order, labels, ttlMs });
    await output.object('Enrolment', enrolment, () => {
      if (!options.isSet('env')) {
        output.line(enrolment.token);
        output.hint(`valid for one agent until ${enrolment.expiresAt}; it is not shown again`);
        return;
      }
      environmentLines(enrolment, labels, stateDir).forEach((line) => output.line(line));
    });
    return 0;
  },
};

/** The agent reads one `KEY=VALUE` per line and takes values literally, so nothing is quoted. */
function environmentLines(enrolment: Enrolment, labels: Readonly<Record<string, string>>, stateDir: string): string[] {
  const labelText = Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
  return [
    `# One agent, one use, until ${enrolment.expiresAt}.`,
    `SPILLWAY_URL=${enrolment.agentUrl}`,
    `SPILLWAY_STATE_DIR=${stateDir}`,
    `SPILLWAY_ENROL_TOKEN=${enrolment.token}`,
    ...(labelText === '' ? [] : [`SPILLWAY_LABELS=${labelText}`]),
  ];
}
