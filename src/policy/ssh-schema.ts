/** `join.ssh` of a policy: where to log in, with what, and what the host must prove. */
import { z } from 'zod';
import { HOST_KEY_MODES } from '../model/policy.ts';
import { parseCount, quoteValue } from '../model/units.ts';
import type { UnitResult } from '../model/units.ts';
import { EMPTY_SECTION, choice, count, field, flag, parseText, text } from './fields.ts';
import { BASTION_HOST, FILE_PATH, PUBLIC_KEY_OR_FILE, USER } from './rules.ts';

/** More hosts in a row than any network needs. */
const BASTIONS_MAX = 3;

/** A host to go through, as it is written. */
export interface BastionDocument {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly identityFile: string | null;
  readonly hostKey: string;
}

const BASTION_FIX = 'write { host: jump.example, user: ops, hostKey: ssh-ed25519 AAAA... }, or a list of such';

/** One map or a list of them: read by hand, because a message about either form would name the wrong place. */
function parseBastions(value: unknown): UnitResult<readonly BastionDocument[]> {
  if (value === null) return { ok: true, value: [] };
  const hops: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (hops.length === 0) return { ok: false, problem: 'the list is empty', fix: `${BASTION_FIX}, or null` };
  if (hops.length > BASTIONS_MAX)
    return { ok: false, problem: 'the list is too long', fix: `write at most ${BASTIONS_MAX} hosts` };
  const found: BastionDocument[] = [];
  for (const hop of hops) {
    const result = parseBastion(hop);
    if (!result.ok) return result;
    found.push(result.value);
  }
  return { ok: true, value: found };
}

/** The same for editors. */
const BASTION_JSON = {
  type: 'object',
  properties: {
    host: { type: 'string', description: 'Name or address.' },
    port: { type: 'integer', minimum: 1, maximum: 65_535, default: 22, description: 'Port of its SSH server.' },
    user: { type: 'string', description: 'Login user.' },
    identity: {
      type: 'object',
      description: 'What Spillway logs in with there. Default: as for machines; with instanceConnect there is none.',
      properties: { file: { type: 'string', description: 'Private key; relative paths start at this file.' } },
      required: ['file'],
      additionalProperties: false,
    },
    hostKey: { type: 'string', description: 'Its ssh-ed25519 public key, or a known_hosts file that has it.' },
  },
  required: ['host', 'user', 'hostKey'],
  additionalProperties: false,
};

const BASTION_KEYS: readonly string[] = ['host', 'port', 'user', 'identity', 'hostKey'];

function parseBastion(value: unknown): UnitResult<BastionDocument> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { ok: false, problem: `${quoteValue(value)} is not a map`, fix: BASTION_FIX };
  const hop: Readonly<Record<string, unknown>> = { ...value };
  const unknown = Object.keys(hop).find((key) => !BASTION_KEYS.includes(key));
  if (unknown !== undefined)
    return {
      ok: false,
      problem: `${quoteValue(unknown)} is not a key of a bastion`,
      fix: `write ${BASTION_KEYS.join(', ')}`,
    };
  const missing = ['host', 'user', 'hostKey'].find((key) => hop[key] === undefined);
  if (missing !== undefined) return { ok: false, problem: `${missing} of a bastion is required`, fix: BASTION_FIX };
  return parseFields(hop);
}

function parseFields(hop: Readonly<Record<string, unknown>>): UnitResult<BastionDocument> {
  const host = parseText(hop['host'], BASTION_HOST);
  if (!host.ok) return host;
  const user = parseText(hop['user'], USER);
  if (!user.ok) return user;
  const hostKey = parseText(hop['hostKey'], PUBLIC_KEY_OR_FILE);
  if (!hostKey.ok) return hostKey;
  const identity = parseBastionIdentity(hop['identity']);
  if (!identity.ok) return identity;
  const port = parseCount(hop['port'] ?? 22, 1, 65_535);
  if (!port.ok) return port;
  return {
    ok: true,
    value: {
      host: host.value,
      port: port.value,
      user: user.value,
      identityFile: identity.value,
      hostKey: hostKey.value,
    },
  };
}

function parseBastionIdentity(value: unknown): UnitResult<string | null> {
  if (value === undefined || value === null) return { ok: true, value: null };
  const fix = 'write { file: /etc/spillway/bastion_key }, or leave it out to use the one for machines';
  if (typeof value !== 'object' || Object.keys(value).join(',') !== 'file')
    return { ok: false, problem: 'the identity of a bastion is a map with file alone', fix };
  return parseText((value as { file: unknown }).file, FILE_PATH);
}

/** Left out, `false` and `true`; or the path of a socket. */
function parseAgent(value: unknown): UnitResult<true | string | null> {
  if (value === true) return { ok: true, value: true };
  if (value === false) return { ok: true, value: null };
  const path = parseText(value, FILE_PATH);
  return path.ok
    ? path
    : { ...path, fix: 'write true for the agent that SSH_AUTH_SOCK names, or the path of a socket' };
}

export const sshSchema = z.strictObject({
  user: text(USER, { description: 'Login user of the image.' }).prefault('ubuntu'),
  port: count({ min: 1, max: 65_535 }, { description: 'Port of the SSH server.' }).prefault(22),
  identity: z
    .strictObject({
      file: text(FILE_PATH, {
        description: 'Private key; relative paths start at this file.',
        examples: ['/etc/spillway/id_ed25519'],
      }).optional(),
      agent: field(
        parseAgent,
        { type: ['boolean', 'string'] },
        {
          description:
            'Instead of file: true = the keys of the SSH agent that SSH_AUTH_SOCK names, or the path of its socket.',
        },
      ).optional(),
      instanceConnect: flag({
        description:
          'Instead of file: true = a new key for each log-in, which EC2 Instance Connect brings to the machine; the image needs ec2-instance-connect (Amazon Linux 2 and 2023 and Ubuntu since 20.04 have it), bastions an identity of their own.',
      }).optional(),
    })
    .prefault(EMPTY_SECTION)
    .meta({ minProperties: 1, description: 'What Spillway logs in with: file, agent or instanceConnect.' }),
  hostKey: choice(HOST_KEY_MODES, {
    description:
      'What the host must prove. injected: a key of ours that is given at launch and replaced at the first log-in; console: the key that it prints on its console and EC2 tells; known: a key of knownHosts; ca: a certificate of hostCa.',
  }).prefault('injected'),
  knownHosts: text(FILE_PATH, {
    description: 'With `hostKey: known`: the known_hosts file; relative paths start at this file.',
  })
    .nullable()
    .prefault(null),
  hostCa: text(FILE_PATH, {
    description:
      'With `hostKey: ca`: file of the public keys that sign host certificates; relative paths start at this file.',
  })
    .nullable()
    .prefault(null),
  transport: choice(['ssh2', 'openssh'], {
    description: 'ssh2: built in. openssh: the installed ssh, for host certificates and post-quantum key exchange.',
  }).prefault('ssh2'),
  bastion: field(
    parseBastions,
    {
      anyOf: [
        { type: 'null' },
        BASTION_JSON,
        { type: 'array', minItems: 1, maxItems: BASTIONS_MAX, items: BASTION_JSON },
      ],
    },
    {
      description:
        'A jump host { host, port, user, identity, hostKey }, or a list of up to 3 in the order they are gone through. hostKey: its ssh-ed25519 public key, or a known_hosts file.',
    },
  ).prefault(null),
});
