import { listPriceUsdPerHour } from '../../src/cost/catalogue.ts';
import type { StepPorts, StepTimings } from '../../src/jobs/ports.ts';
import { createLead } from '../../src/loops/lead.ts';
import { CloudView, type LoopPorts } from '../../src/loops/ports.ts';
import { Recollection } from '../../src/loops/recollection.ts';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import type { Cloud } from '../../src/ports/cloud.ts';
import type { Ids } from '../../src/ports/ids.ts';
import type { Log } from '../../src/ports/log.ts';
import { createOfferingSource } from '../../src/sources/offerings.ts';
import { openCallGate } from '../../src/cloud/call-gate.ts';
import { limitCloud } from '../../src/cloud/limited.ts';
import { createCredentials } from '../../src/wiring/credentials.ts';
import type { Witness } from '../../src/ports/witness.ts';
import type { Stores } from '../../src/wiring/stores.ts';
import type { Injector } from './world-faults.ts';
import type { WorldHosts } from './world-hosts.ts';
import { loaded } from './world-policy.ts';
import type { WorldWakeQueue } from './world-queues.ts';
import type { WorldTime } from './world-time.ts';

/** Launches of this deployment key verify; any other key's do not. */
export const WORLD_KEY = Buffer.alloc(32, 7);
export const WORLD_OWNER = 'spillway-world';

/** Everything one service process holds; a crash replaces all of it. */
export interface Process {
  readonly steps: StepPorts;
  readonly loops: LoopPorts;
}

interface Surroundings {
  readonly time: WorldTime;
  readonly ids: Ids;
  readonly stores: Stores;
  readonly injector: Injector;
  readonly hosts: WorldHosts;
  readonly wake: WorldWakeQueue;
  readonly log: Log;
  readonly cloud: Cloud;
  /** Of the machine that the process runs on: it outlives the process. */
  readonly witness: Witness;
  readonly policies: () => readonly WorkloadPolicy[];
  /** Its name in the leader's lease. */
  readonly holder: string;
  readonly onStepFailed: StepPorts['meter']['stepFailed'];
  readonly timings: StepTimings;
  readonly wakePlanner: () => void;
  readonly notifyAgents: LoopPorts['notifyAgents'];
}

/** A service process as `main.ts` wires it, on the world's ports; every call that leaves it passes the injector. */
export function buildProcess(world: Surroundings): Process {
  const { stores, time, ids, log, injector } = world;
  const wrap = <P extends object>(name: string, port: P): P => injector.wrap(name, port);
  // Launches and terminations take their tokens; reads do not, because waiting for one would stop the world's only clock.
  const gate = openCallGate({ clock: time, budget: wrap('budget', stores.apiBudget) });
  const cloud = limitCloud(wrap('cloud', world.cloud), gate);
  const planning = wrap('planning', stores.planning);
  const common = {
    clock: time,
    ids,
    log,
    cloud,
    credentials: {
      ...createCredentials(WORLD_KEY),
      loginPublicKey: async () => 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAQ',
    },
    machines: wrap('machines', stores.machines),
    launches: wrap('launches', stores.launches),
  };
  const latestSpotPrices = async () => await stores.ledger.listLatestSpotPrices();
  const loops: LoopPorts = {
    ...common,
    planning,
    offerings: createOfferingSource({ cloud, clock: time, log, listPriceUsdPerHour, latestSpotPrices }),
    policies: { current: () => world.policies().map(loaded) },
    lead: createLead({ leadership: wrap('leadership', stores.leadership), clock: time, log, holder: world.holder }),
    sweeping: wrap('sweeping', stores.sweeping),
    interruptions: wrap('interruptions', stores.orders),
    memory: wrap('memory', stores.memory),
    recollection: new Recollection({ witness: world.witness, clock: time, owner: WORLD_OWNER }),
    ledger: wrap('ledger', stores.ledger),
    learning: wrap('learning', stores.learning),
    wake: wrap('wake', world.wake),
    owner: WORLD_OWNER,
    view: new CloudView(),
    decideFromMs: 0,
    notifyAgents: world.notifyAgents,
  };
  const steps: StepPorts = {
    ...common,
    shell: wrap('shell', world.hosts),
    meter: {
      launchAttempted: () => undefined,
      stepFailed: world.onStepFailed,
      joined: () => undefined,
      drained: () => undefined,
    },
    readPolicy: async (workload) => (await planning.readPolicy(workload))?.policy ?? null,
    wakePlanner: world.wakePlanner,
    agent: {
      scripts: { sh: '#!/bin/sh\n', powershell: '' },
      serviceUrl: 'http://127.0.0.1:1',
      allowHttp: false,
      renderEnv: (variables) => JSON.stringify(variables),
      readRecipe: async (file) => `# ${file}\n`,
    },
    timings: world.timings,
  };
  return { loops, steps };
}
