import type { AgentGateway } from '../ports/agent-gateway.ts';
import type { Credentials } from '../server/agent-api/credentials.ts';
import type { FaultRates, Proc, Sim } from './sim.ts';
import { runInside } from './tripwire.ts';

/** What an agent's request came to when there was no answer: refused, cut off, or not in time. */
export const NO_ANSWER = Symbol('no answer');
const TRAVEL_MS = 40;
/** An agent waits so long for an answer; virtual milliseconds. */
const ANSWER_MS = 10_000;

/** What of a service process answers agents. */
export interface AgentService {
  readonly gateway: AgentGateway;
  /** Whose tokens it has seen. */
  readonly credentials: Credentials;
}

/** A service process as agents reach it. */
export interface Endpoint {
  readonly proc: Proc;
  /** Of the incarnation that is up; null while it starts. */
  agentService(): AgentService | null;
}

/**
 * The way from agents to the service: any process of it may get a request. Requests and answers are lost, late, or there twice,
 * and a process that is stopped answers after it went on, when nobody waits any more.
 */
export class AgentNetwork {
  private readonly sim: Sim;
  private readonly rates: FaultRates;
  private readonly endpoints: Endpoint[] = [];

  constructor(sim: Sim, rates: FaultRates) {
    this.sim = sim;
    this.rates = rates;
  }

  add(endpoint: Endpoint): void {
    this.endpoints.push(endpoint);
  }

  async ask<T>(agent: string, request: (service: AgentService) => Promise<T>): Promise<T | typeof NO_ANSWER> {
    const { sim } = this;
    const up = this.endpoints.filter(({ proc }) => proc.up);
    const fault = sim.strikesOneOf('net', this.rates);
    const chosen = up[sim.chance.integer('net:which', 0, Math.max(0, up.length - 1))];
    const travelMs = sim.chance.integer('net:travel', 1, TRAVEL_MS);
    return await new Promise((resolve) => {
      sim.at(ANSWER_MS, () => resolve(NO_ANSWER));
      if (chosen === undefined || fault === 'drop') return;
      const deliver = (): void => this.deliver(chosen, request, (answer) => fault !== 'lose' && resolve(answer), agent);
      sim.at(fault === 'slow' ? travelMs + ANSWER_MS : travelMs, deliver);
      if (fault === 'twice') sim.at(travelMs + sim.chance.integer('net:again', 1, ANSWER_MS), deliver);
    });
  }

  private deliver<T>(
    endpoint: Endpoint,
    request: (service: AgentService) => Promise<T>,
    answer: (value: T | typeof NO_ANSWER) => void,
    agent: string,
  ): void {
    const { proc } = endpoint;
    const { incarnation } = proc;
    const served = endpoint.agentService();
    if (!proc.up || served === null) return answer(NO_ANSWER);
    this.sim.into(proc, incarnation, () => {
      const serve = async (): Promise<void> => {
        try {
          const value = await request(served);
          this.sim.at(TRAVEL_MS / 2, () => answer(value));
        } catch (error) {
          // The API answers with a 5xx: to the agent that is no answer.
          this.sim.note(`${agent} refused ${String(error)}`);
          this.sim.at(TRAVEL_MS / 2, () => answer(NO_ANSWER));
        }
      };
      void runInside(serve);
    });
  }
}
