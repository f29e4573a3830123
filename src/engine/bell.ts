import type { AgentId } from '../model/ids.ts';

/** Agents whose last ring is remembered, about 100 bytes each; as many as the API for agents holds answers for, and some. */
const REMEMBERED_MAX = 20_000;

/**
 * Who waits for news about which agent, within this process. Marks count up, so that a change between two calls is never
 * missed; across processes nobody is told, and an agent's next heartbeat finds the news in the rows.
 */
export class AgentBell {
  private mark = 0;
  /** In order of their rings, the oldest first. */
  private readonly changedAt = new Map<AgentId, number>();
  /** The newest mark among those forgotten: an agent that is not remembered may have been rung for then. */
  private forgottenMark = 0;
  private readonly waiting = new Map<AgentId, Set<() => void>>();

  now(): number {
    return this.mark;
  }

  /** Says that something about these agents changed: new leases, a cordon, an order to leave. */
  ring(agentIds: Iterable<AgentId>): void {
    this.mark += 1;
    for (const agentId of agentIds) {
      this.remember(agentId);
      for (const wake of this.waiting.get(agentId) ?? []) wake();
    }
  }

  private remember(agentId: AgentId): void {
    this.changedAt.delete(agentId);
    this.changedAt.set(agentId, this.mark);
    const [oldest] = this.changedAt;
    if (this.changedAt.size <= REMEMBERED_MAX || oldest === undefined) return;
    this.changedAt.delete(oldest[0]);
    this.forgottenMark = oldest[1];
  }

  /**
   * Resolves true when the agent was rung for after `mark`, false when the signal aborts first. A true too many, after a ring
   * that was forgotten, only costs one look at the rows.
   */
  async wait(agentId: AgentId, mark: number, signal: AbortSignal): Promise<boolean> {
    if ((this.changedAt.get(agentId) ?? this.forgottenMark) > mark) return true;
    if (signal.aborted) return false;
    return await new Promise<boolean>((resolve) => {
      const waiters = this.waiting.get(agentId) ?? new Set();
      this.waiting.set(agentId, waiters);
      const finish = (rung: boolean): void => {
        waiters.delete(wake);
        if (waiters.size === 0) this.waiting.delete(agentId);
        signal.removeEventListener('abort', abort);
        resolve(rung);
      };
      const wake = (): void => finish(true);
      const abort = (): void => finish(false);
      waiters.add(wake);
      signal.addEventListener('abort', abort, { once: true });
    });
  }
}
