/** What befalls the datacenter. The list is made from a seed before anything starts, and from nothing else. */
export type Blow =
  /** SIGKILL to one replica, to both, or to whichever leads. */
  | { readonly kind: 'kill'; readonly victim: 0 | 1 | 'both' | 'leader' }
  /** SIGSTOP to the leader until another one leads, then SIGCONT. */
  | { readonly kind: 'stop-leader' }
  /** Redis is gone and comes back with nothing. */
  | { readonly kind: 'empty-redis' }
  /** Postgres ends at once, as in a crash, and recovers. */
  | { readonly kind: 'restart-postgres' };

export interface Step {
  /** After the blow before. */
  readonly afterMs: number;
  readonly blow: Blow;
  /** Tasks submitted right before it, so that there is always work under way. */
  readonly submit: number;
}

export interface Orders {
  readonly seed: number;
  /** SIGKILLs to replicas. */
  readonly kills: number;
  readonly stops: number;
  readonly redisRestarts: number;
  readonly postgresRestarts: number;
  /** Over the whole run; they come in waves. */
  readonly tasks: number;
  /** Longest pause between two blows. */
  readonly pauseMsMax: number;
}

/** Blows at random moments and in random order; `both` counts as two kills. */
export function scheduleBlows(orders: Orders): readonly Step[] {
  const random = randomOf(orders.seed);
  const blows: Blow[] = [
    ...times(orders.stops, { kind: 'stop-leader' }),
    ...times(orders.redisRestarts, { kind: 'empty-redis' }),
    ...times(orders.postgresRestarts, { kind: 'restart-postgres' }),
  ];
  for (let kills = 0; kills < orders.kills;) {
    const victim = ([0, 1, 'leader', 'leader', 'both'] as const)[Math.floor(random() * 5)] ?? 0;
    blows.push({ kind: 'kill', victim });
    kills += victim === 'both' ? 2 : 1;
  }
  shuffle(blows, random);
  const wave = Math.ceil(orders.tasks / Math.ceil(blows.length / WAVE_EVERY));
  return blows.map((blow, index) => ({
    afterMs: Math.round(PAUSE_MS_MIN + random() * (orders.pauseMsMax - PAUSE_MS_MIN)),
    blow,
    submit: index % WAVE_EVERY === 0 ? wave : 0,
  }));
}

const PAUSE_MS_MIN = 50;
/** Blows per wave of tasks. */
const WAVE_EVERY = 6;

function times(count: number, blow: Blow): Blow[] {
  return Array.from({ length: count }, () => blow);
}

function shuffle(items: unknown[], random: () => number): void {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [items[last], items[other]] = [items[other], items[last]];
  }
}

/** Numbers from 0 to 1 (mulberry32): the same ones for the same seed, on every machine. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
