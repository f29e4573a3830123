import type { LaunchBody } from '../model/launch.ts';
import type { StandingLogin } from './shell.ts';

/**
 * What the deployment key makes. Everything is derived anew from the key and the launch's nonce,
 * so that no row, job or log has to hold a secret.
 */
export interface LaunchCredentials {
  /** EC2's client token of one attempt of a launch. */
  makeToken(nonce: string, attempt: number): string;
  /** The nonce and attempt of a token that we made; null for anyone else's. The second proof of ownership. */
  verifyToken(token: string): { readonly nonce: string; readonly attempt: number } | null;
  /** The launch's one-time host key, public half: `ssh-ed25519 AAAA...`. */
  hostPublicKey(nonce: string): string;
  /** What a machine keeps to prove a host key of its own to a database that forgot it; without the deployment key nobody can make it. */
  hostKeyProof(made: { readonly nonce: string; readonly instanceId: string; readonly key: string }): string;
  /** User-data with the host key in it unless the body has none. Same nonce and body, same text. */
  renderUserData(nonce: string, body: Pick<LaunchBody, 'sshUser' | 'authorizedKey' | 'hostKey' | 'platform'>): string;
  /** SHA-256 of a text as hex; tokens and user-data are kept as this. */
  sha256(text: string): string;
  /** Public half of the key that we log in with; of an agent its first one. @throws AppError CONFIG_KEY_FILE */
  loginPublicKey(login: StandingLogin): Promise<string>;
}
