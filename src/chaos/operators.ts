import { AppError } from '../model/errors.ts';
import type { MachineId } from '../model/ids.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { Orderer } from '../ports/machine-orders.ts';
import type { MachineOrder, MachineOrderKind, OperatorActions } from '../ports/operator.ts';
import type { Region } from '../simulator/region.ts';
import type { LettingGo } from './letting-go.ts';
import type { Replica } from './replica.ts';
import type { Sim } from './sim.ts';
import type { SqlWorld } from './sql.ts';
import { runInside } from './tripwire.ts';

const PROTECTION_TAG = 'spillway:protected';
/** How often somebody looks after what was ordered, once nothing goes wrong any more. */
const LOOK_AFTER_MS = MINUTE_MS;

const ORDERS: readonly [MachineOrderKind, ...MachineOrderKind[]] = [
  'protect',
  'protect',
  'unprotect',
  'drain',
  'drain',
  'undrain',
  'terminate',
];

const SOMEBODY: Orderer = { by: 'ann', reason: null };

interface OperatorsOptions {
  readonly sim: Sim;
  readonly sql: SqlWorld;
  readonly region: Region;
  readonly replicas: readonly Replica[];
  readonly lettingGo: LettingGo;
}

/** People who order things of machines and agents, by the service's own functions for that and by tags in EC2. */
export class Operators {
  private readonly options: OperatorsOptions;
  private readonly tagged = new Set<string>();

  constructor(options: OperatorsOptions) {
    this.options = options;
  }

  /** What people ordered for good ends with the storm, or nothing would ever come to rest. */
  lookAfter(): void {
    const { sim } = this.options;
    sim.every(LOOK_AFTER_MS, async () => {
      if (sim.isStormy()) return;
      for (const instanceId of this.tagged) this.tag(instanceId, false);
      const { sql } = this.options;
      const machines = await sql.query<{ id: MachineId }>(
        `select id from spillway.machines where state <> 'terminated' and protected_at is not null order by id`,
      );
      for (const { id } of machines) void this.orderOf(id, null, 'unprotect');
      const agents = await sql.query<{ id: string }>(
        'select id from spillway.agents where machine_id is null and removed_at is null and cordoned order by id',
      );
      for (const { id } of agents)
        void this.ask(async (actions) => await actions.cordonAgent(id, 'uncordon', SOMEBODY));
    });
  }

  /** Some order about some machine. */
  async orderMachine(): Promise<void> {
    const { sim, sql } = this.options;
    const machines = await sql.query<{ id: MachineId; instance_id: string | null }>(
      `select id, instance_id from spillway.machines where state <> 'terminated' order by id`,
    );
    const machine = machines[sim.chance.integer('operator:machine', 0, Math.max(0, machines.length - 1))];
    const kind = sim.chance.pick('operator:order', ORDERS);
    if (machine !== undefined) void this.orderOf(machine.id, machine.instance_id, kind);
  }

  /** Some agent of the datacenter is cordoned, let work again, or removed. */
  async orderAgent(): Promise<void> {
    const { sim, sql } = this.options;
    const agents = await sql.query<{ id: string }>(
      'select id from spillway.agents where machine_id is null and removed_at is null order by id',
    );
    const agent = agents[sim.chance.integer('operator:agent', 0, Math.max(0, agents.length - 1))];
    const how = sim.chance.pick('operator:how', ['cordon', 'cordon', 'uncordon', 'remove', 'remove-by-force']);
    if (agent === undefined) return;
    void this.ask(async (actions) => {
      if (how.startsWith('remove')) await actions.removeAgent(agent.id, how === 'remove-by-force', SOMEBODY);
      else await actions.cordonAgent(agent.id, how === 'cordon' ? 'cordon' : 'uncordon', SOMEBODY);
    });
    if (how !== 'cordon') return;
    const forMs = sim.chance.integer('operator:cordon-for', 2, 30) * MINUTE_MS;
    sim.at(forMs, () => void this.ask(async (actions) => await actions.cordonAgent(agent.id, 'uncordon', SOMEBODY)));
  }

  /** Whoever may tag instances in EC2 protects one for a while. */
  protectByTag(instanceId: string): void {
    const { sim } = this.options;
    this.tag(instanceId, true);
    sim.at(sim.chance.integer('operator:tag-for', 3, 40) * MINUTE_MS, () => this.tag(instanceId, false));
  }

  private tag(instanceId: string, isProtected: boolean): void {
    const { region } = this.options;
    region.tagInstance(instanceId, PROTECTION_TAG, isProtected ? 'true' : null);
    if (isProtected) this.tagged.add(instanceId);
    else this.tagged.delete(instanceId);
  }

  private async orderOf(id: MachineId, instanceId: string | null, kind: MachineOrderKind): Promise<void> {
    const { sim, lettingGo } = this.options;
    const isShort = sim.chance.roll('operator:short').value < 0.5;
    const forMs = isShort ? sim.chance.integer('operator:for', 2, 40) * MINUTE_MS : null;
    const force = kind === 'terminate' && sim.chance.roll('operator:force').value < 0.4;
    const order: MachineOrder = { kind, ...SOMEBODY, forMs, force };
    const untilMs = sim.nowMs + (forMs ?? Infinity);
    // Any answer may be lost: what may have been done counts as done.
    if (kind === 'unprotect') lettingGo.endPromise(id);
    if (force && instanceId !== null) lettingGo.noteForced(instanceId);
    const isDone = await this.ask(async (actions) => await actions.orderMachine(id, order));
    if (isDone && kind === 'protect') lettingGo.notePromise(id, untilMs);
  }

  /** At whichever process answers. False: it was refused, or nobody knows. */
  private async ask(command: (actions: OperatorActions) => Promise<unknown>): Promise<boolean> {
    const { sim, replicas } = this.options;
    const actions = replicas.find(({ proc }) => proc.up && proc.stoppedUntilMs <= sim.nowMs)?.operatorActions() ?? null;
    if (actions === null) return false;
    try {
      await runInside(async () => await command(actions));
      return true;
    } catch (error) {
      sim.note(`an order failed: ${String(error)}`);
      // A process that dies with an order in its hand throws what it will.
      if (!(error instanceof AppError)) sim.note('unexpectedly');
      return false;
    }
  }
}
