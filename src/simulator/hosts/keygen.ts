/**
 * `ssh-keygen` for simulated hosts on a machine that has none: `-t ed25519 -f FILE` makes a key pair, `-y -f FILE` prints the
 * public half. Run as a program by the hosts, never imported.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import ssh2 from 'ssh2';
import { deriveHostKey } from '../../cloud/host-key.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: {
    quiet: { type: 'boolean', short: 'q' },
    public: { type: 'boolean', short: 'y' },
    type: { ...text, short: 't' },
    passphrase: { ...text, short: 'N' },
    comment: { ...text, short: 'C' },
    file: { ...text, short: 'f' },
  },
});
const { file = '' } = values;
if (values.public === true) {
  const key = ssh2.utils.parseKey(readFileSync(file));
  if (key instanceof Error) throw key;
  process.stdout.write(`${key.type} ${key.getPublicSSH().toString('base64')}\n`);
} else {
  const pair = deriveHostKey(randomBytes(32), 'made by the host');
  writeFileSync(file, pair.privateOpenSsh, { mode: 0o600, flag: 'wx' });
  writeFileSync(`${file}.pub`, `${pair.publicOpenSsh}\n`, { flag: 'wx' });
}
