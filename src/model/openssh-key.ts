/** An Ed25519 key pair in OpenSSH's own formats, which every version of OpenSSH and the ssh2 package read. */

const KEY_TYPE = 'ssh-ed25519';
/** What the format pads to when the key is not encrypted (openssh PROTOCOL.key). */
const OPENSSH_BLOCK_BYTES = 8;
const PEM_LINE_CHARS = 70;

export interface OpenSshKeyPair {
  /** `-----BEGIN OPENSSH PRIVATE KEY-----...`, with a newline at the end. A secret: never logged, never stored. */
  readonly privateOpenSsh: string;
  /** `ssh-ed25519 AAAA...` without a comment. */
  readonly publicOpenSsh: string;
}

/** Writes a key of which the 32 bytes of both halves are known. The same bytes give the same text. */
export function openSshKeyPair(seed: Buffer, publicBytes: Buffer): OpenSshKeyPair {
  const publicBlob = Buffer.concat([sshString(KEY_TYPE), sshString(publicBytes)]);
  return {
    privateOpenSsh: privatePem(seed, publicBytes, publicBlob),
    publicOpenSsh: `${KEY_TYPE} ${publicBlob.toString('base64')}`,
  };
}

function privatePem(seed: Buffer, publicBytes: Buffer, publicBlob: Buffer): string {
  // The check number only has to occur twice; ours follows from the public key, because the text must come out the same.
  const check = publicBytes.subarray(0, 4);
  const body = Buffer.concat([
    check,
    check,
    publicBlob,
    sshString(Buffer.concat([seed, publicBytes])),
    sshString('spillway'),
  ]);
  const padBytes = (OPENSSH_BLOCK_BYTES - (body.length % OPENSSH_BLOCK_BYTES)) % OPENSSH_BLOCK_BYTES;
  const padding = Buffer.from(Array.from({ length: padBytes }, (_, index) => index + 1));
  const keyCount = Buffer.from([0, 0, 0, 1]);
  const file = Buffer.concat([
    Buffer.from('openssh-key-v1\0', 'ascii'),
    sshString('none'),
    sshString('none'),
    sshString(''),
    keyCount,
    sshString(publicBlob),
    sshString(Buffer.concat([body, padding])),
  ]);
  const lines = file.toString('base64').match(new RegExp(`.{1,${PEM_LINE_CHARS}}`, 'g')) ?? [];
  return ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n');
}

/** An SSH wire string: four bytes of length, then the bytes. */
function sshString(value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
