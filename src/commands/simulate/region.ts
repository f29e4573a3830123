import { parseDuration } from '../../model/units.ts';
import { parseUnit } from '../options.ts';
import type { CommandSpec } from '../types.ts';

export const simulateRegion: CommandSpec = {
  path: 'simulate region',
  summary: 'Run a region of our own that speaks EC2, with machines that boot as SSH hosts on loopback',
  description:
    'Listens on loopback only and prints AWS_ENDPOINT_URL_EC2=... once it answers; AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT may be the same, for policies with instanceConnect. It knows one access key: AKIASPILLWAYSIMULATE with the secret simulated-secret-that-opens-nothing-else. Ends with SIGTERM or Ctrl-C, and every machine with it.',
  options: [
    { name: 'port', short: 'p', value: 'PORT', summary: 'where EC2 answers; 0 takes any free one', default: '4566' },
    {
      name: 'ssh-port',
      value: 'PORT',
      summary: 'port of SSH on every machine; else 22 for root when free, 2222 otherwise',
    },
    { name: 'boot', value: 'DURATION', summary: 'from the launch until SSH answers', default: '20s' },
    { name: 'seed', value: 'TEXT', summary: 'chooses the spot prices', default: 'spillway' },
    {
      name: 'host',
      value: 'KIND',
      summary: 'what the machines are: ssh2, or openssh for real sshd',
      default: 'ssh2',
      choices: ['ssh2', 'openssh'],
    },
    {
      name: 'owner',
      value: 'NAME',
      summary: 'enforce infra/iam-policy.json for this owner; else every call is allowed',
    },
    { name: 'data-dir', value: 'PATH', summary: "folder of the machines' files; else a temporary one" },
  ],
  examples: [
    {
      command: 'spillway simulate region --port 4566 --boot 2s',
      summary: 'then: AWS_ENDPOINT_URL_EC2=http://127.0.0.1:4566 spillway serve',
    },
  ],
  output: 'none',
  seeAlso: ['serve'],
  ownsSignals: true,
  async run({ wiring, options }) {
    const sshPort = options.integer('ssh-port', { min: 1, max: 65_535 });
    const owner = options.text('owner');
    const dataDir = options.text('data-dir');
    return wiring.simulateRegion({
      port: options.integer('port', { min: 0, max: 65_535 }) ?? 4566,
      bootMs: parseUnit('boot', options.text('boot') ?? '20s', parseDuration),
      seed: options.text('seed') ?? 'spillway',
      host: options.text('host') === 'openssh' ? 'openssh' : 'ssh2',
      ...(sshPort === null ? {} : { sshPort }),
      ...(owner === null ? {} : { owner }),
      ...(dataDir === null ? {} : { dataDir }),
    });
  },
};
