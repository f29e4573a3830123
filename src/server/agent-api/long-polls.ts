import type { AgentId } from '../../model/ids.ts';
import type { AgentGateway, AgentOrders, AgentReport } from '../../ports/agent-gateway.ts';
import type { Clock } from '../../ports/clock.ts';
import { hasNews } from './protocol.ts';

/** One reason for all: an error object of its own for each of thousands of answers costs a stack trace each. */
const HOLD_IS_OVER = new Error('the answer is held no longer');

export interface HoldRequest {
  readonly agentId: AgentId;
  readonly report: AgentReport;
  readonly orders: AgentOrders;
  readonly mark: number;
  readonly waitMs: number;
  /** Calls back once when nobody is there any more to hear the answer. */
  readonly onGone: (gone: () => void) => void;
}

/** Answers that are held until there is something to say, their time is up, the agent is gone, or the service stops. */
export class LongPolls {
  readonly #gateway: AgentGateway;
  readonly #clock: Clock;
  readonly #heldMax: number;
  readonly #held = new Set<AbortController>();
  #closed = false;

  constructor(gateway: AgentGateway, clock: Clock, heldMax: number) {
    this.#gateway = gateway;
    this.#clock = clock;
    this.#heldMax = heldMax;
  }

  /** The orders to answer with. With too many held already it does not hold: the agent then waits on its own side. */
  async hold(request: HoldRequest): Promise<AgentOrders> {
    let { orders, mark } = request;
    if (request.waitMs <= 0 || hasNews(orders, request.report)) return orders;
    if (this.#closed || this.#held.size >= this.#heldMax) return orders;
    const over = new AbortController();
    this.#held.add(over);
    request.onGone(() => over.abort(HOLD_IS_OVER));
    const timer = this.#expire(over, request.waitMs);
    try {
      while (!over.signal.aborted && !hasNews(orders, request.report)) {
        const { agentId, report } = request;
        ({ orders, mark } = await this.#gateway.ordersAfter({ agentId, report, mark, signal: over.signal }));
      }
      return orders;
    } finally {
      this.#held.delete(over);
      over.abort(HOLD_IS_OVER);
      await timer;
    }
  }

  /** Lets go of all that are held, and holds none from now on. */
  close(): void {
    this.#closed = true;
    for (const over of this.#held) over.abort(HOLD_IS_OVER);
  }

  async #expire(over: AbortController, waitMs: number): Promise<void> {
    try {
      await this.#clock.sleep(waitMs, over.signal);
      over.abort(HOLD_IS_OVER);
    } catch (error) {
      // The sleep rejects with the signal's reason when the answer left before the time was up.
      if (!over.signal.aborted) throw error;
    }
  }
}
