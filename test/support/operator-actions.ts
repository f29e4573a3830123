import type { OperatorActions } from '../../src/ports/operator.ts';
import { createOperatorActions } from '../../src/wiring/operator-actions.ts';
import { PlanProver } from '../../src/wiring/plan-prover.ts';
import { realClock } from './clock.ts';
import type { World } from './world.ts';

/** What operators may ask of a world's service, as the service itself wires it. */
export function operatorActionsOf(world: World): OperatorActions {
  return createOperatorActions({
    loops: world.process.loops,
    engine: world.engine,
    agents: world.stores.agents,
    agentOrdering: world.stores.agentOrdering,
    running: () => null,
    pingQueue: async () => undefined,
    isLeader: () => true,
    prover: new PlanProver(realClock),
    orders: world.stores.orders,
    reports: world.stores.reports,
  });
}
