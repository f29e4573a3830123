import type { Ids } from '../ports/ids.ts';
import { hashToken } from '../server/agent-api/credentials.ts';
import { type AgentWorld, ChaosAgent } from './agents.ts';
import type { SqlWorld } from './sql.ts';

/** The machines of the datacenter, and whoever enrols them. */
export class Locals {
  /** All that ever were, copies included. */
  readonly agents: ChaosAgent[] = [];
  private readonly world: AgentWorld;
  private readonly sql: SqlWorld;
  private readonly ids: Ids;
  /** Cores of each. */
  private readonly cpus: readonly number[];

  constructor(world: AgentWorld, { sql, ids, cpus }: { sql: SqlWorld; ids: Ids; cpus: readonly number[] }) {
    this.world = world;
    this.sql = sql;
    this.ids = ids;
    this.cpus = cpus;
  }

  /** Enrols those that have no living agent: none yet, or one that was removed, or forgotten for good. */
  async enrol(): Promise<void> {
    for (const [index, cpus] of this.cpus.entries()) {
      const own = this.agents.filter(({ name }) => name.startsWith(`local-${index}`));
      if (own.some((agent) => agent.isAlive())) continue;
      await this.add(own.length === 0 ? `local-${index}` : `local-${index}-${own.length}`, cpus);
    }
  }

  private async add(name: string, cpus: number): Promise<void> {
    const token = this.ids.hex(32);
    await this.sql.query(
      `insert into spillway.enrolments (token_hash, site, labels, expires_at)
       values ($1, 'on-prem', '{"pool":"local"}', spillway.now() + interval '1 hour')`,
      [hashToken(token)],
    );
    const capacity = { cpuMilli: cpus * 1000, memoryMib: cpus * 4096, gpus: 0 };
    this.agents.push(new ChaosAgent(this.world, { name, enrolmentToken: token, capacity, isPowered: () => true }));
  }

  /** Another machine of the datacenter takes the identity of this agent, if that is one of the datacenter. */
  clone(agent: ChaosAgent, isWhole: boolean): void {
    if (!this.agents.includes(agent)) return;
    const twin = agent.clone(`${agent.name}-clone-${this.agents.length}`, isWhole);
    if (twin !== null) this.agents.push(twin);
  }
}
