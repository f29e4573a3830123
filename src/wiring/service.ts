import type { AgentBell } from '../engine/bell.ts';
import { createAgentGateway } from '../engine/gateway.ts';
import type { EnginePorts } from '../engine/ports.ts';
import { runStep } from '../jobs/run-step.ts';
import type { AgentDelivery, StepOutcome, StepPorts, StepTimings } from '../jobs/ports.ts';
import { createLead } from '../loops/lead.ts';
import { CloudView, type LoopPorts } from '../loops/ports.ts';
import { Recollection } from '../loops/recollection.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { AgentGateway, AgentTiming } from '../ports/agent-gateway.ts';
import type { Clock } from '../ports/clock.ts';
import type { Cloud } from '../ports/cloud.ts';
import type { LaunchCredentials } from '../ports/credentials.ts';
import type { Ids } from '../ports/ids.ts';
import type { Log } from '../ports/log.ts';
import type { StepMeter } from '../ports/meter.ts';
import type { OfferingSource } from '../ports/offerings.ts';
import type { PolicySource } from '../ports/policies.ts';
import type { TaskQueues, WakeJob, WakeQueue } from '../ports/queue.ts';
import type { Shell } from '../ports/shell.ts';
import type { Witness } from '../ports/witness.ts';
import type { Stores } from './stores.ts';

/** Everything one service process reaches the outside with. `main.ts` gives the real ones, the simulation its own. */
export interface ServiceOutside {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  readonly stores: Stores;
  readonly cloud: Cloud;
  readonly offerings: OfferingSource;
  readonly shell: Shell;
  readonly queues: { readonly wake: WakeQueue; readonly tasks: TaskQueues };
  readonly policies: PolicySource & { byWorkload(): ReadonlyMap<string, WorkloadPolicy> };
  readonly credentials: LaunchCredentials;
  readonly bell: AgentBell;
  readonly meter: StepMeter;
  readonly agent: AgentDelivery;
  /** What this service saw the database acknowledge, kept apart from it. */
  readonly witness: Witness;
  /** Value of the owner tag on everything of ours. */
  readonly owner: string;
  /** Name of this process in the lease; new with every start. */
  readonly holder: string;
  readonly leaseTtlMs: number;
  /** Nothing is decided before this time has passed since the start: agents must have had the time to report. */
  readonly settleMs: number;
  readonly agentTiming: AgentTiming;
  readonly stepTimings: StepTimings;
  /** Wakes a loop of this process, once they run. */
  readonly wake: (name: 'plan' | 'assign') => void;
}

/** What a service process is made of, before anything of it runs. */
export interface ServiceParts {
  readonly engine: EnginePorts;
  readonly gateway: AgentGateway;
  readonly loops: LoopPorts;
  readonly steps: StepPorts;
  /** What a worker does with a job of the wake queue. */
  handle(job: WakeJob): Promise<StepOutcome>;
}

/** Puts a service process together; nothing is opened, started or asked here. */
export function assembleService(outside: ServiceOutside): ServiceParts {
  const engine = buildEngine(outside);
  const steps = buildSteps(outside);
  return {
    engine,
    gateway: createAgentGateway(engine),
    loops: buildLoops(outside),
    steps,
    handle: async (job) => await runStep(steps, job),
  };
}

function buildEngine(outside: ServiceOutside): EnginePorts {
  const { clock, ids, log, stores, queues, bell, agentTiming, policies, wake } = outside;
  return {
    clock,
    ids,
    log,
    tasks: stores.tasks,
    agents: stores.agents,
    interruptions: stores.interruptions,
    queues: queues.tasks,
    wake: queues.wake,
    bell,
    timing: agentTiming,
    policies: () => policies.byWorkload(),
    wakeAssigner: () => wake('assign'),
    wakePlanner: () => wake('plan'),
  };
}

function buildLoops(outside: ServiceOutside): LoopPorts {
  const { clock, ids, log, cloud, offerings, policies, credentials, stores, queues, owner } = outside;
  return {
    clock,
    ids,
    log,
    cloud,
    offerings,
    policies,
    credentials,
    lead: createLead({ leadership: stores.leadership, clock, log, holder: outside.holder, ttlMs: outside.leaseTtlMs }),
    planning: stores.planning,
    machines: stores.machines,
    launches: stores.launches,
    sweeping: stores.sweeping,
    interruptions: stores.orders,
    memory: stores.memory,
    recollection: new Recollection({ witness: outside.witness, clock, owner }),
    ledger: stores.ledger,
    learning: stores.learning,
    wake: queues.wake,
    owner,
    view: new CloudView(),
    decideFromMs: clock.monotonicMs() + outside.settleMs,
    notifyAgents: (agentIds) => outside.bell.ring(agentIds),
  };
}

function buildSteps(outside: ServiceOutside): StepPorts {
  const { clock, ids, log, cloud, shell, stores, credentials, meter, agent, wake } = outside;
  return {
    clock,
    ids,
    log,
    cloud,
    shell,
    machines: stores.machines,
    launches: stores.launches,
    credentials,
    meter,
    readPolicy: async (workload) => (await stores.planning.readPolicy(workload))?.policy ?? null,
    wakePlanner: () => wake('plan'),
    agent,
    timings: outside.stepTimings,
  };
}
