import type { FastifyInstance } from 'fastify';
import type { Clock } from '../ports/clock.ts';

/**
 * Cuts off whoever is still connected `limitMs` after the server began to close. Closing waits for every request under way,
 * and Node stops looking at its own limits then: a client that never ends its request would hold up the stop of the service.
 */
export function closeWithin(server: FastifyInstance, clock: Pick<Clock, 'sleep'>, limitMs: number): void {
  server.addHook('preClose', (done) => {
    const closed = new AbortController();
    server.server.once('close', () => closed.abort());
    // Rejects when all have left in time: then there is nobody to cut off.
    void clock.sleep(limitMs, closed.signal).then(
      () => server.server.closeAllConnections(),
      () => undefined,
    );
    done();
  });
}
