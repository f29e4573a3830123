/** The replay's world in the words of the planner. */
import { withLicense } from '../cost/license.ts';
import { ANYWHERE } from '../model/constraints.ts';
import type { AgentId, MachineId } from '../model/ids.ts';
import type { Market, Offering } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { Resources } from '../model/resources.ts';
import type { EpochMs } from '../model/time.ts';
import { SECOND_MS } from '../model/time.ts';
import { idleUntilMs, minimumLifeEndsMs } from '../planner/idle-hold.ts';
import type { AgentView, MachineView, PendingShape } from '../planner/types.ts';
import type { LocalView, NodeView, PendingView } from './scaler.ts';
import type { Amount, NodeType } from './types.ts';
import { subtractAmounts } from './types.ts';

/** Second 0 of a log, for the planner's clock; any moment does. */
const LOG_EPOCH_MS = Date.UTC(2000, 0, 1);
const ZONE = 'backtest-a';

/** A moment of the log for the planner. */
export function toMs(momentS: number): EpochMs {
  return LOG_EPOCH_MS + Math.round(momentS * SECOND_MS);
}

/** The same amount. Logs know tasks that share a GPU: here a share is a broken number, which the planner adds up like a whole one. */
export function toResources({ cpuMilli, memoryMib, gpuMilli }: Amount): Resources {
  return { cpuMilli, memoryMib, gpus: gpuMilli / 1000 };
}

/** A type at the price of a market: what is launched for an offering. */
export interface MarketType {
  readonly type: NodeType;
  readonly market: Market;
  readonly offering: Offering;
}

/** What may be launched in the replay, in one zone; spot only where the policy wants it and a price is known. */
export function listMarketTypes(types: readonly NodeType[], policy: WorkloadPolicy): readonly MarketType[] {
  return types.flatMap((type) => {
    const spot = policy.burst.market.spot > 0 ? type.spotUsdPerHour : null;
    const markets: readonly [Market, number | null][] = [
      ['on-demand', withLicense(type.priceUsdPerHour, { ...type, resources: toResources(type.capacity) }, policy)],
      ['spot', spot],
    ];
    return markets.flatMap(([market, priceUsdPerHour]) =>
      priceUsdPerHour === null
        ? []
        : [
            {
              type: { ...type, priceUsdPerHour },
              market,
              offering: offeringOf({ ...type, priceUsdPerHour }, market, policy),
            },
          ],
    );
  });
}

function offeringOf(type: NodeType, market: Market, policy: WorkloadPolicy): Offering {
  return {
    instanceType: {
      name: type.name,
      family: type.family,
      resources: toResources(type.capacity),
      architecture: type.arch,
      burstable: type.burstable,
    },
    zone: ZONE,
    subnetId: policy.burst.subnets[0] ?? '',
    market,
    priceUsdPerHour: type.priceUsdPerHour,
  };
}

/** A local agent that reports at this very moment. */
export function localAgent(local: LocalView, policy: WorkloadPolicy, nowMs: EpochMs): AgentView {
  return {
    id: agentId('l', local.id),
    site: 'on-prem',
    labels: policy.agents.selector,
    capacity: toResources(local.capacity),
    allocated: toResources(subtractAmounts(local.capacity, local.free)),
    runningTasks: local.runningTasks,
    cordoned: false,
    lastSeenAtMs: nowMs,
    machineId: null,
  };
}

/** The agent of a node that is ready. */
export function cloudAgent(node: NodeView, nowMs: EpochMs): AgentView {
  return {
    id: agentId('c', node.id),
    site: 'aws',
    labels: {},
    capacity: toResources(node.type.capacity),
    allocated: toResources(subtractAmounts(node.type.capacity, node.free)),
    runningTasks: node.runningTasks,
    cordoned: node.cordoned,
    lastSeenAtMs: nowMs,
    machineId: machineId(node.id),
  };
}

export function machineView(node: NodeView, market: Market, policy: WorkloadPolicy): MachineView {
  const isReady = node.state === 'ready';
  return {
    id: machineId(node.id),
    workload: policy.name,
    state: isReady ? (node.cordoned ? 'draining' : 'ready') : 'booting',
    revision: 0,
    instanceType: node.type.name,
    resources: toResources(node.type.capacity),
    zone: ZONE,
    market,
    priceUsdPerHour: node.type.priceUsdPerHour,
    createdAtMs: toMs(node.launchedAtS),
    startedAtMs: toMs(node.launchedAtS),
    startMs: isReady ? toMs(node.readyAtS) - toMs(node.launchedAtS) : null,
    readySinceMs: isReady ? toMs(node.readyAtS) : null,
    idleSinceMs: node.idleSinceS === null ? null : toMs(node.idleSinceS),
    drainIrrevocable: false,
    agentId: isReady ? agentId('c', node.id) : null,
  };
}

/** When a node without work may go, as far as its own times say. */
export function letGoAtS(node: NodeView, policy: WorkloadPolicy): number {
  const machine = machineView(node, 'on-demand', policy);
  const atMs = Math.max(idleUntilMs(policy.drain, machine), minimumLifeEndsMs(policy.drain, machine));
  return (atMs - LOG_EPOCH_MS) / SECOND_MS;
}

/** `overdueBy`: tasks submitted at or before this moment have waited for `maxWait`. */
export function pendingShape(group: PendingView, overdueByS: number): PendingShape {
  return {
    shape: toResources(group.need),
    count: group.count,
    overdue: group.submittedBy(overdueByS),
    oldestPendingSinceMs: toMs(group.oldestSubmitS),
    ...ANYWHERE,
    runTimeS: null,
  };
}

function agentId(site: string, id: number): AgentId {
  return `ag-${site}${String(id).padStart(11, '0')}`;
}

function machineId(id: number): MachineId {
  return `mc-${String(id).padStart(12, '0')}`;
}

/** The node of a machine that was made by `machineView`. */
export function nodeIdOf(machine: MachineId): number {
  return Number(machine.slice('mc-'.length));
}
