/**
 * Amnesia: the database has lost commits that it had acknowledged (a failover without its last seconds, a restored backup).
 * Nothing inside it can tell. Witnesses outside can: EC2, which has instances of launches that no row knows, and a small file
 * of this service. While it lasts nothing is launched and nothing ended; the rows are rebuilt from EC2.
 */
import { MINUTE_MS, SECOND_MS } from './time.ts';
import type { EpochMs } from './time.ts';

/**
 * - `unknown-launch`: EC2 shows an instance of ours whose launch no row knows; every intent is committed before its call.
 * - `lost-launch`: a launch whose commit was acknowledged to this service is not there.
 * - `lost-lease`: the leader's lease is older than this service has seen it.
 */
export type AmnesiaReason = 'unknown-launch' | 'lost-launch' | 'lost-lease';

export interface AmnesiaFinding {
  readonly reason: AmnesiaReason;
  /** Ids and figures for people; no secrets. */
  readonly evidence: Readonly<Record<string, unknown>>;
}

/** An amnesia that lasts. */
export interface Amnesia extends AmnesiaFinding {
  readonly sinceMs: EpochMs;
  readonly rebuilt: number;
  readonly cleanListings: number;
  readonly cleanSinceMs: EpochMs | null;
}

/** What one service saw acknowledged by the database, kept outside of it. */
export interface Testimony {
  /** The installation that this is about. */
  readonly owner: string;
  readonly epoch: number;
  readonly turns: number;
  /** Nonces of the launches committed last, the newest last. */
  readonly nonces: readonly string[];
  /** Where its machines may be. */
  readonly regions: readonly string[];
  /** System identifier and timeline of the server; null = not told. Another one is a reason to suspect, not a proof. */
  readonly server: string | null;
}

/** The same, as the database tells it now. */
export interface MemoryFacts {
  readonly epoch: number;
  readonly turns: number;
  /** Of the nonces asked for, those that are there. */
  readonly nonces: readonly string[];
  readonly server: string | null;
  readonly amnesia: Amnesia | null;
}

/** Enough for every launch of some minutes at the usual rates; the file stays under 8 KiB. */
export const WITNESSED_NONCES_MAX = 64;
/** Far beyond the regions that one set of policies names. */
export const WITNESSED_REGIONS_MAX = 32;

/** Clean listings of all regions before the rows count as rebuilt. */
export const CLEAN_LISTINGS_MIN = 5;
/**
 * How long those listings must span: EC2 shows a new instance late, by minutes on a bad day (5 min), and a call that was begun
 * before the commits were lost may still be signed (20 s) and answered (40 s).
 */
export const CLEAN_SPAN_MS = 5 * MINUTE_MS + 60 * SECOND_MS;

/** The proof that the database forgot something that the testimony remembers; null = none. */
export function findForgotten(testimony: Testimony, facts: MemoryFacts): AmnesiaFinding | null {
  const isOtherServer = testimony.server !== null && facts.server !== null && testimony.server !== facts.server;
  const suspicion = isOtherServer ? { serverBefore: testimony.server, serverNow: facts.server } : {};
  const there = new Set(facts.nonces);
  const lost = testimony.nonces.filter((nonce) => !there.has(nonce));
  if (lost.length > 0) return { reason: 'lost-launch', evidence: { nonces: lost.slice(-10), ...suspicion } };
  if (facts.epoch >= testimony.epoch && facts.turns >= testimony.turns) return null;
  const evidence = {
    epochBefore: testimony.epoch,
    epochNow: facts.epoch,
    turnsBefore: testimony.turns,
    turnsNow: facts.turns,
    ...suspicion,
  };
  return { reason: 'lost-lease', evidence };
}

/** The testimony that agrees with the database as it is now: what is forgotten cannot be missed twice. */
export function agreeWith(testimony: Testimony, facts: MemoryFacts): Testimony {
  const there = new Set(facts.nonces);
  return {
    ...testimony,
    epoch: facts.epoch,
    turns: facts.turns,
    nonces: testimony.nonces.filter((nonce) => there.has(nonce)),
    server: facts.server ?? testimony.server,
  };
}

/** Adds launches whose commit was acknowledged. */
export function rememberNonces(testimony: Testimony, nonces: readonly string[]): Testimony {
  return { ...testimony, nonces: [...testimony.nonces, ...nonces].slice(-WITNESSED_NONCES_MAX) };
}

/** True when the listings say that everything EC2 has is in the rows. */
export function isRecovered(cleanListings: number, cleanSpanMs: number): boolean {
  return cleanListings >= CLEAN_LISTINGS_MIN && cleanSpanMs >= CLEAN_SPAN_MS;
}

const REASON_TEXTS: Readonly<Record<AmnesiaReason, string>> = {
  'unknown-launch': 'EC2 has instances of launches that no row knows',
  'lost-launch': 'launches that were committed are gone',
  'lost-lease': 'its lease is older than this service has seen it',
};

/** One sentence: what is the matter and what is waited for. */
export function describeAmnesia(amnesia: Amnesia, nowMs: EpochMs): string {
  const { reason, rebuilt, cleanListings, cleanSinceMs } = amnesia;
  const left = Math.max(0, CLEAN_SPAN_MS - (cleanSinceMs === null ? 0 : nowMs - cleanSinceMs));
  const waits = `${Math.min(cleanListings, CLEAN_LISTINGS_MIN)} of ${CLEAN_LISTINGS_MIN} complete listings of all regions without unknown instances`;
  return (
    `the database has lost commits (${REASON_TEXTS[reason]}): nothing is launched or ended, ${rebuilt} machines are rebuilt; ` +
    `waits for ${waits}, and for ${Math.ceil(left / SECOND_MS)} s more of them`
  );
}
