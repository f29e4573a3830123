import { hash } from 'node:crypto';
import type { AgentId } from '../../model/ids.ts';
import type { AgentGateway } from '../../ports/agent-gateway.ts';
import type { Clock } from '../../ports/clock.ts';

/** Half a minute: what the gateway allows where nothing checks it once more. */
const REMEMBER_MS = 30_000;
/** Beyond it the entry learnt longest ago goes; about 200 bytes each. */
const REMEMBERED_MAX = 200_000;

const BEARER = /^Bearer ([A-Za-z0-9._~+/=-]{16,512})$/i;

/** SHA-256 in lower-case hex. Tokens are 256 random bits, so a slow hash would add nothing. */
export function hashToken(token: string): string {
  return hash('sha256', token, 'hex');
}

/** The hash of the bearer token in an `Authorization` header; null when there is none of a believable form. */
export function readTokenHash(header: string | undefined): string | null {
  const token = header === undefined ? undefined : BEARER.exec(header)?.[1];
  return token === undefined ? null : hashToken(token);
}

/** Whose a token is, without asking the database at every heartbeat. Only good answers are remembered. */
export class Credentials {
  readonly #gateway: AgentGateway;
  readonly #clock: Clock;
  readonly #known = new Map<string, { agentId: AgentId; sinceMs: number }>();

  constructor(gateway: AgentGateway, clock: Clock) {
    this.#gateway = gateway;
    this.#clock = clock;
  }

  remembered(tokenHash: string): AgentId | null {
    const entry = this.#known.get(tokenHash);
    return entry !== undefined && this.#clock.monotonicMs() - entry.sinceMs < REMEMBER_MS ? entry.agentId : null;
  }

  /** The same, however long ago: for what checks the credential as it writes. A fleet's heartbeats ask once per agent. */
  presumed(tokenHash: string): AgentId | null {
    return this.#known.get(tokenHash)?.agentId ?? null;
  }

  async ask(tokenHash: string): Promise<AgentId | null> {
    const agentId = await this.#gateway.authenticate(tokenHash);
    this.forget(tokenHash);
    if (agentId === null) return null;
    this.#known.set(tokenHash, { agentId, sinceMs: this.#clock.monotonicMs() });
    if (this.#known.size > REMEMBERED_MAX) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    }
    return agentId;
  }

  forget(tokenHash: string): void {
    this.#known.delete(tokenHash);
  }
}
