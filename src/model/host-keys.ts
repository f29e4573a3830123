/** An Ed25519 public key as OpenSSH writes it, without a comment: type, then 51 bytes of which the first 19 are always the same. */
const KEY = /ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}(?![A-Za-z0-9+/=])/g;
/** What cloud-init prints around the host's public keys; `ec2: ` or a time may stand before each line. */
const CONSOLE_BLOCK = /-----BEGIN SSH HOST KEY KEYS-----([\s\S]*?)-----END SSH HOST KEY KEYS-----/g;

/** The one Ed25519 public key in a text; null when there is none, or more than one. */
export function onlyHostKeyIn(text: string): string | null {
  const found = new Set(text.match(KEY));
  const [key] = found;
  return found.size === 1 && key !== undefined ? key : null;
}

/** What a console says of the host's key. `unfit`: it says something, and nothing that one could trust. */
export type ConsoleHostKey =
  | { readonly kind: 'found'; readonly key: string }
  | { readonly kind: 'not-yet' }
  | { readonly kind: 'unfit' };

/**
 * Reads the Ed25519 host key between cloud-init's marks. A block without its end is not there yet. Blocks come again at each
 * boot; those that disagree are not believed.
 */
export function hostKeyOfConsole(text: string | null): ConsoleHostKey {
  const blocks = [...(text ?? '').matchAll(CONSOLE_BLOCK)].map(([, inner = '']) => inner);
  if (blocks.length === 0) return { kind: 'not-yet' };
  const key = onlyHostKeyIn(blocks.join('\n'));
  return key === null ? { kind: 'unfit' } : { kind: 'found', key };
}
