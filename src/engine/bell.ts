import type { AgentId } from '../model/ids.ts';

/**
 * Who waits for news about which agent, within this process. Marks count up, so that a change between two calls is never
 * missed; across processes nobody is told, and an agent's next heartbeat finds the news in the rows.
 */
export class AgentBell {
  private mark = 0;
  private readonly changedAt = new Map<AgentId, number>();
  private readonly waiting = new Map<AgentId, Set<() => void>>();

  now(): number {
    return this.mark;
  }

  /** Says that something about these agents changed: new leases, a cordon, an order to leave. */
  ring(agentIds: Iterable<AgentId>): void {
    this.mark += 1;
    for (const agentId of agentIds) {
      this.changedAt.set(agentId, this.mark);
      for (const wake of this.waiting.get(agentId) ?? []) wake();
    }
  }

  /** Resolves true when the agent was rung for after `mark`, false when the signal aborts first. */
  async wait(agentId: AgentId, mark: number, signal: AbortSignal): Promise<boolean> {
    if ((this.changedAt.get(agentId) ?? 0) > mark) return true;
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

  /** Agents that left for good need no memory. */
  forget(agentId: AgentId): void {
    this.changedAt.delete(agentId);
  }
}
