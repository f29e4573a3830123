import { setTimeout as sleep } from 'node:timers/promises';
import type { MachineDocument } from '../../src/ports/reports.ts';
import { until } from '../support/wait.ts';
import { scheduleBlows, type Blow, type Orders } from './blows.ts';
import { Datacenter } from './datacenter.ts';
import { gatherEvidence, untilCharged } from './evidence.ts';
import { MACHINES_MAX } from './policy.ts';
import type { Exit } from './supervised.ts';
import { tracedCommand } from './trace.ts';
import { findViolations } from './verdict.ts';

const TASK_S = 3;
/** Deadlines of what must come about at all; a slow machine needs a fraction of them. */
const TAKEOVER_MS = 60_000;
const QUIET_MS = 180_000;

export interface Survived {
  readonly seed: number;
  /** What really fell, by kind; a kill of both is two. */
  readonly blows: Readonly<Record<'kills' | 'stops' | 'redisRestarts' | 'postgresRestarts', number>>;
  readonly tasks: number;
  /** Processes that tasks were, all attempts. */
  readonly runs: number;
  readonly instances: number;
  /** From the last blow until every task was done and every machine gone. */
  readonly quietAfterS: number;
  readonly billUsd: string;
  readonly violations: readonly string[];
}

/** Lets the blows of a seed fall on a datacenter at work, waits until all is quiet, and judges by what others saw. */
export async function survive(
  orders: Orders,
  options: { readonly signal: AbortSignal; readonly progress: (text: string) => void },
): Promise<Survived> {
  const datacenter = await Datacenter.start();
  let failed = true;
  try {
    const survived = await new Trial(datacenter, orders, options).run();
    failed = survived.violations.length > 0;
    return survived;
  } finally {
    if (failed) options.progress(`logs are kept in ${datacenter.folder}`);
    await datacenter.stop(failed);
  }
}

class Trial {
  private readonly datacenter: Datacenter;
  private readonly orders: Orders;
  private readonly options: { readonly signal: AbortSignal; readonly progress: (text: string) => void };
  private readonly acknowledged: string[] = [];
  private readonly blows = { kills: 0, stops: 0, redisRestarts: 0, postgresRestarts: 0 };

  constructor(datacenter: Datacenter, orders: Orders, options: Trial['options']) {
    this.datacenter = datacenter;
    this.orders = orders;
    this.options = options;
  }

  async run(): Promise<Survived> {
    for (const { afterMs, blow, submit } of scheduleBlows(this.orders)) {
      this.options.signal.throwIfAborted();
      if (submit > 0) await this.submit(submit);
      await sleep(afterMs);
      await this.strike(blow);
    }
    const lastBlowMs = performance.now();
    await until('every task is done and every machine gone', async () => this.isQuiet(), {
      deadlineMs: QUIET_MS,
      everyMs: 500,
    });
    const quietAfterS = (performance.now() - lastBlowMs) / 1000;
    await untilCharged(this.datacenter);
    const evidence = await gatherEvidence(this.datacenter);
    const violations = [...this.findCrashes(), ...findViolations(evidence, this.terms())];
    return {
      seed: this.orders.seed,
      blows: this.blows,
      tasks: evidence.rows.tasks.length,
      runs: evidence.runs.length,
      instances: evidence.instances.length,
      quietAfterS,
      billUsd: evidence.billUsd,
      violations,
    };
  }

  private terms(): Parameters<typeof findViolations>[1] {
    return { machinesMax: MACHINES_MAX, acknowledged: this.acknowledged };
  }

  private async submit(count: number): Promise<void> {
    const command = tracedCommand(this.datacenter.traces, TASK_S);
    this.acknowledged.push(...(await this.datacenter.submit(command, count)));
  }

  private async strike(blow: Blow): Promise<void> {
    this.options.progress(JSON.stringify(blow));
    switch (blow.kind) {
      case 'kill':
        return await this.kill(blow.victim);
      case 'stop-leader':
        return await this.stopLeader();
      case 'empty-redis':
        this.blows.redisRestarts += 1;
        return await this.datacenter.emptyRedis();
      case 'restart-postgres':
        this.blows.postgresRestarts += 1;
        return await this.datacenter.postgres.restart();
    }
  }

  private async kill(victim: Extract<Blow, { kind: 'kill' }>['victim']): Promise<void> {
    const one = victim === 'leader' ? ((await this.datacenter.findLeader()) ?? 0) : victim;
    const victims = this.datacenter.replicas.filter((_, index) => one === 'both' || one === index);
    this.blows.kills += victims.length;
    await Promise.all(victims.map(async ({ process }) => process.kill()));
  }

  /** Its lease runs out while it stands still: another one leads before it goes on. */
  private async stopLeader(): Promise<void> {
    const { datacenter } = this;
    const leader = await until('a replica leads', async () => datacenter.findLeader(), { deadlineMs: TAKEOVER_MS });
    const { process } = datacenter.replicas[leader]!;
    process.signal('SIGSTOP');
    this.blows.stops += 1;
    try {
      await until('the other replica leads', async () => (await datacenter.findLeader()) === 1 - leader, {
        deadlineMs: TAKEOVER_MS,
        everyMs: 100,
      });
    } finally {
      process.signal('SIGCONT');
    }
  }

  private async isQuiet(): Promise<boolean> {
    this.options.signal.throwIfAborted();
    const { datacenter } = this;
    const [status, machines] = await datacenter.ask(async (client) => [
      await client.get<{ tasks: Readonly<Record<string, number>> }>('Status', '/v1/status'),
      await client.list<MachineDocument>('MachineList', '/v1/machines', { limit: 1000 }),
    ]);
    const { pending = 0, leased = 0, running = 0 } = status.tasks;
    return pending + leased + running === 0 && machines.items.length === 0;
  }

  /** A service may be killed, may end itself after it stood still, and may find at its start that the database is away. */
  private findCrashes(): readonly string[] {
    const isExpected = ({ code, signal }: Exit): boolean => signal === 'SIGKILL' || code === UNREACHABLE;
    return this.datacenter.replicas.flatMap(({ process: { exits, program } }) =>
      exits
        .filter((exit) => !isExpected(exit))
        .map(
          ({ code, signal }) =>
            `${program.name} ended by itself: code ${code}, signal ${signal}; see ${program.logFile}`,
        ),
    );
  }
}

/** Exit code of a service that cannot reach what it needs. */
const UNREACHABLE = 6;
