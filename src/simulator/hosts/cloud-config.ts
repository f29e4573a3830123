/** The part of cloud-init's cloud-config that decides who may log in, and how the host proves who it is. */
import { parse } from 'yaml';
import { z } from 'zod';

export interface BootConfig {
  /** OpenSSH private key the host must present; null = the host makes one, as an image without the setting does. */
  readonly hostKeyPrivate: string | null;
  /** Public keys in authorized_keys form that may log in, under any user name. */
  readonly authorizedKeys: readonly string[];
}

const keys = z.array(z.string()).default([]);
const cloudConfig = z.looseObject({
  ssh_keys: z.looseObject({ ed25519_private: z.string().optional() }).default({}),
  ssh_authorized_keys: keys,
  users: z.array(z.union([z.string(), z.looseObject({ ssh_authorized_keys: keys })])).default([]),
});

const NOTHING: BootConfig = { hostKeyPrivate: null, authorizedKeys: [] };

/**
 * Reads user-data as it came with the launch (base64). Anything but a cloud-config is ignored, as cloud-init ignores what
 * it does not understand; a cloud-config it cannot read leaves a host that nobody can log in to, and says so.
 */
export function readBootConfig(userData: string | null): BootConfig & { readonly problem: string | null } {
  const text = Buffer.from(userData ?? '', 'base64').toString('utf8');
  if (!text.startsWith('#cloud-config')) return { ...NOTHING, problem: null };
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    return { ...NOTHING, problem: `cloud-config is not YAML: ${String(error)}` };
  }
  const parsed = cloudConfig.safeParse(raw);
  if (!parsed.success) return { ...NOTHING, problem: `cloud-config: ${z.prettifyError(parsed.error)}` };
  const { ssh_keys: hostKeys, ssh_authorized_keys: topLevel, users } = parsed.data;
  return {
    hostKeyPrivate: hostKeys.ed25519_private ?? null,
    authorizedKeys: [
      ...topLevel,
      ...users.flatMap((user) => (typeof user === 'string' ? [] : user.ssh_authorized_keys)),
    ],
    problem: null,
  };
}
