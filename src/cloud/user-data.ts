import assert from 'node:assert/strict';
import type { HostKey } from './host-key.ts';
import { renderWindowsUserData } from './windows-user-data.ts';

/** A login name as `useradd` of Ubuntu and Amazon Linux takes it. */
export const SSH_USER_PATTERN = /^[a-z_][a-z0-9_-]{0,31}$/;
const PUBLIC_KEY_PATTERN = /^[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}(?: [\x20-\x7e]*)?$/;
/** EC2's limit before base64: 16 KiB. */
export const USER_DATA_BYTES_MAX = 16 * 1024;

export interface UserDataInput {
  /** As `deriveHostKey` gives it; or the machine makes its `own`, or keeps those of its `image`. */
  readonly hostKey: HostKey | 'own' | 'image';
  /** OpenSSH public key that may log in as `sshUser`; null = none but those that EC2 Instance Connect brings. */
  readonly authorizedKey: string | null;
  /** The image's own user (`ubuntu`, `ec2-user`) or one to be made. */
  readonly sshUser: string;
  /** Absent = Linux. */
  readonly platform?: 'windows';
}

/**
 * The `#cloud-config` text of a Linux machine, or what stands for it on Windows: its host key, known before it boots, unless it comes with its own, and who may log in. Same input, same bytes,
 * because a replayed launch must repeat its request exactly. Everybody on the machine can read user-data, so that the
 * host key in it is good for the first contact only.
 *
 * cloud-init makes no keys of its own when `ssh_keys` is given, and `ssh_deletekeys` removes those baked into the image:
 * the injected key is the only one sshd can prove. `default` first keeps what the distribution gives its own user;
 * cloud-init merges our entry into it when both have the same name.
 */
export function renderUserData(input: UserDataInput): string {
  assert(SSH_USER_PATTERN.test(input.sshUser), `not a login name: ${input.sshUser}`);
  const { authorizedKey } = input;
  const isKeyLine = authorizedKey === null || PUBLIC_KEY_PATTERN.test(authorizedKey);
  assert(isKeyLine, 'the authorized key is one OpenSSH public key line');
  if (input.platform === 'windows') {
    assert(input.hostKey !== 'own', 'nothing tells the key that a Windows machine makes by itself');
    assert(authorizedKey !== null, 'EC2 Instance Connect brings no keys to Windows');
    return renderWindowsUserData({ ...input, authorizedKey, hostKey: input.hostKey });
  }
  return [
    '#cloud-config',
    ...hostKeyLines(input.hostKey),
    'ssh_pwauth: false',
    'users:',
    '  - default',
    `  - name: ${quoted(input.sshUser)}`,
    '    lock_passwd: true',
    '    shell: /bin/bash',
    // What the stock images give their own user; a join recipe must find the same under any name.
    '    sudo: "ALL=(ALL) NOPASSWD:ALL"',
    ...(authorizedKey === null ? [] : ['    ssh_authorized_keys:', `      - ${quoted(authorizedKey)}`]),
    '',
  ].join('\n');
}

function hostKeyLines(hostKey: UserDataInput['hostKey']): readonly string[] {
  // Keys of an image go by default: then each machine has others.
  if (hostKey === 'own') return ['ssh_deletekeys: true'];
  if (hostKey === 'image') return ['ssh_deletekeys: false'];
  const { privateOpenSsh, publicOpenSsh } = hostKey;
  assert(PUBLIC_KEY_PATTERN.test(publicOpenSsh), 'the host key is one OpenSSH public key line');
  const privateLines = privateOpenSsh.trimEnd().split('\n');
  assert(
    privateLines.every((line) => /^[A-Za-z0-9+/= -]+$/.test(line)),
    'the private host key is PEM text',
  );
  return [
    'ssh_deletekeys: true',
    'ssh_keys:',
    '  ed25519_private: |',
    ...privateLines.map((line) => `    ${line}`),
    `  ed25519_public: ${quoted(publicOpenSsh)}`,
  ];
}

/** A JSON string is a YAML double-quoted scalar: no value can end its line or start a key. */
function quoted(value: string): string {
  return JSON.stringify(value);
}
