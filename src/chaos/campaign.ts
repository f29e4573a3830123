import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { MACHINE_STATES, MACHINE_TRANSITIONS } from '../model/machine.ts';
import { HOUR_MS } from '../model/time.ts';
import type { SeedResult } from './seed.ts';
import type { ShardNews, ShardOrder } from './shard.ts';

/** Beside this file, in a checkout and in a built package. */
const SHARD = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './shard.ts' : './shard.js', import.meta.url));
const TASKSET = '/usr/bin/taskset';
/** All transitions, births included. */
const TRANSITIONS_TOTAL = 1 + MACHINE_STATES.reduce((sum, state) => sum + MACHINE_TRANSITIONS[state].length, 0);

export interface CampaignOptions {
  readonly seeds: { readonly first: number; readonly last: number };
  /** Virtual hours with faults, per seed. */
  readonly hours: number;
  /** Only these faults; null = all that the seed has. */
  readonly only: readonly string[] | null;
  /** Processes; default one per core. */
  readonly shards?: number;
  /** Superusers' URLs of Postgres servers to use, one per shard, instead of embedded ones. */
  readonly adminUrls?: readonly string[];
  /** Runs each seed so often and compares the digests. Default 1. */
  readonly repeat?: number;
  /** Real milliseconds after which no further seed is begun; null = never. */
  readonly budgetMs?: number | null;
  /** Looks for the few faults that a violation needs. Default true. */
  readonly shrink?: boolean;
  /** Ends the campaign at the first violation. Default false. */
  readonly untilViolation?: boolean;
  readonly signal?: AbortSignal;
  readonly onSeed?: (done: { readonly result: SeedResult; readonly finished: number; readonly wanted: number }) => void;
}

export interface SeedFailure {
  readonly seed: number;
  readonly rule: string;
  readonly message: string;
  /** What the violation needs, as far as it was looked for. */
  readonly faults: readonly string[];
}

export interface CampaignReport {
  readonly seeds: number;
  readonly simulatedHours: number;
  readonly faultsInjected: number;
  readonly faultsByKind: Readonly<Record<string, number>>;
  readonly transitionsCovered: number;
  readonly transitionsTotal: number;
  readonly transitionsMissing: readonly string[];
  readonly statements: number;
  readonly violations: number;
  readonly failures: readonly SeedFailure[];
  /** From the last fault of a seed until everything was done and gone, at most. */
  readonly slowestRecoveryMinutes: number;
  /** Of the digests of all seeds, in their order. */
  readonly digest: string;
  readonly tookS: number;
}

/** Runs many seeds on all cores. @throws Error when the simulation itself breaks */
export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const startedMs = performance.now();
  const campaign = new Campaign(options);
  const shards = Math.min(options.shards ?? availableParallelism(), campaign.wanted);
  const work = Array.from({ length: shards }, async (_unused, index) => await campaign.runShard(index));
  const ends = await Promise.allSettled(work);
  const broken = ends.find((end) => end.status === 'rejected');
  if (broken !== undefined) throw broken.reason;
  return campaign.report((performance.now() - startedMs) / 1000);
}

class Campaign {
  readonly wanted: number;
  private readonly options: CampaignOptions;
  private readonly results = new Map<number, SeedResult>();
  private readonly failures: SeedFailure[] = [];
  private readonly deadlineMs: number;
  private next: number;
  private finished = 0;

  constructor(options: CampaignOptions) {
    this.options = options;
    this.next = options.seeds.first;
    this.wanted = options.seeds.last - options.seeds.first + 1;
    this.deadlineMs = performance.now() + (options.budgetMs ?? Infinity);
  }

  async runShard(index: number): Promise<void> {
    const shard = startShard(index, this.options.adminUrls?.[index] ?? null);
    const { signal } = this.options;
    const stop = (): void => shard.child.disconnect();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      await shard.ready;
      for (let seed = this.takeSeed(); seed !== null; seed = this.takeSeed()) await this.runSeed(shard, seed);
    } catch (error) {
      // Its shard was told to go: what was finished before counts.
      if (signal?.aborted !== true) throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
      await shard.end();
    }
  }

  private takeSeed(): number | null {
    const { seeds, signal, untilViolation } = this.options;
    const over = this.next > seeds.last || performance.now() > this.deadlineMs || signal?.aborted === true;
    if (over || (untilViolation === true && this.failures.length > 0)) return null;
    this.next += 1;
    return this.next - 1;
  }

  private async runSeed(shard: Shard, seed: number): Promise<void> {
    const { hours, only, shrink = true, repeat = 1 } = this.options;
    const order: ShardOrder = { kind: 'run', seed, hours, only, shrink };
    const { result, needed } = await shard.run(order);
    this.results.set(seed, result);
    if (result.violation !== null) this.failures.push({ seed, ...result.violation, faults: needed ?? result.faults });
    for (let run = 1; run < repeat; run += 1) this.compare(result, (await shard.run(order)).result);
    this.finished += 1;
    this.options.onSeed?.({ result, finished: this.finished, wanted: this.wanted });
  }

  private compare(first: SeedResult, second: SeedResult): void {
    if (first.digest === second.digest) return;
    const message = `the same seed gave ${first.digest} and ${second.digest}`;
    this.failures.push({ seed: first.seed, rule: 'determinism', message, faults: [] });
  }

  report(tookS: number): CampaignReport {
    const results = [...this.results.values()].sort((a, b) => a.seed - b.seed);
    const sum = (of: (result: SeedResult) => number): number => results.reduce((total, one) => total + of(one), 0);
    const seen = new Set(results.flatMap(({ transitions }) => transitions));
    // A rebuilt machine begins in the middle of its life: that is no transition of the table.
    const missing = allTransitions().filter((transition) => !seen.has(transition));
    const digest = createHash('sha256');
    for (const result of results) digest.update(`${result.seed} ${result.digest}\n`);
    return {
      simulatedHours: Math.round((sum(({ simulatedMs }) => simulatedMs) / HOUR_MS) * 10) / 10,
      faultsInjected: sum(({ faults }) => faults.length),
      transitionsCovered: TRANSITIONS_TOTAL - missing.length,
      transitionsTotal: TRANSITIONS_TOTAL,
      violations: this.failures.length,
      digest: digest.digest('hex').slice(0, 16),
      seeds: results.length,
      faultsByKind: sumByKind(results),
      transitionsMissing: missing,
      statements: sum(({ statements }) => statements),
      failures: this.failures.sort((a, b) => a.seed - b.seed),
      slowestRecoveryMinutes: Math.ceil(Math.max(0, ...results.map(({ restMs }) => restMs)) / 60_000),
      tookS: Math.round(tookS),
    };
  }
}

function allTransitions(): readonly string[] {
  return ['>requested', ...MACHINE_STATES.flatMap((from) => MACHINE_TRANSITIONS[from].map((to) => `${from}>${to}`))];
}

function sumByKind(results: readonly SeedResult[]): Record<string, number> {
  const sums = new Map<string, number>();
  for (const { faultsByKind } of results) {
    for (const [kind, count] of Object.entries(faultsByKind)) sums.set(kind, (sums.get(kind) ?? 0) + count);
  }
  return Object.fromEntries([...sums].sort(([a], [b]) => (a < b ? -1 : 1)));
}

interface Shard {
  readonly child: ChildProcess;
  readonly ready: Promise<void>;
  run(order: ShardOrder): Promise<Extract<ShardNews, { kind: 'result' }>>;
  end(): Promise<void>;
}

/** Node's other threads would only take turns with the one that simulates; collecting seldom makes it a tenth faster. */
const COLLECTING = ['--min-semi-space-size=64', '--max-semi-space-size=64', '--single-threaded-gc'];

/** A shard and its Postgres share one core where that can be arranged: they take turns anyway, and waking the other core costs more. */
function startShard(index: number, adminUrl: string | null): Shard {
  const own = [...COLLECTING, SHARD, ...(adminUrl === null ? [] : [adminUrl])];
  // Whoever started us on one core has chosen already.
  const pinned = existsSync(TASKSET) && availableParallelism() > 1;
  const command = pinned ? TASKSET : process.execPath;
  const core = String(index % availableParallelism());
  const child = spawn(command, pinned ? ['-c', core, process.execPath, ...own] : own, {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  let hear: (news: ShardNews) => void = () => undefined;
  let fail: (error: Error) => void = () => undefined;
  const listen = async (): Promise<ShardNews> =>
    await new Promise((resolve, reject) => {
      hear = resolve;
      fail = reject;
    });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.on('message', (news: ShardNews) => hear(news));
  child.once('error', (error) => fail(error));
  child.once('exit', (code, signal) => fail(new Error(`a shard of the simulation ended (${signal ?? code})`)));
  const first = listen();
  first.catch(() => undefined);
  return {
    child,
    ready: first.then(() => undefined),
    async run(order) {
      const answer = listen();
      child.send(order);
      const news = await answer;
      if (news.kind === 'broken') throw new Error(`seed ${news.seed} broke the simulation: ${news.error}`);
      if (news.kind !== 'result') throw new Error(`bug: a shard said ${news.kind}`);
      return news;
    },
    async end() {
      fail = () => undefined;
      if (child.connected) child.send({ kind: 'end' } satisfies ShardOrder);
      await exited;
    },
  };
}
