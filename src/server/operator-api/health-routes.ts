import type { FastifyInstance } from 'fastify';
import { describeError } from '../../model/errors.ts';
import type { ServiceHealth } from '../../ports/operator.ts';
import type { StatusDocument } from '../../ports/reports.ts';
import { OPERATOR_API_WAITS, type OperatorApiOptions } from './options.ts';
import { document, parseInput } from './document.ts';
import { healthQuery } from './schemas.ts';

/**
 * `/livez`: the event loop turns; asks nothing else, because restarting does not heal a database.
 * `/readyz`: 200 or 503 with what fails. `/healthz?verbose`: every check with its age. `/metrics`: Prometheus.
 */
export function addHealthRoutes(app: FastifyInstance, options: OperatorApiOptions): void {
  const { metrics, clock } = options;
  app.get('/livez', async (_request, reply) => reply.type('text/plain; charset=utf-8').send('ok\n'));
  app.get('/readyz', async (_request, reply) => {
    const health = await readHealth(options);
    const failing = health.checks.filter((check) => check.state !== 'ok');
    return reply
      .code(health.ready ? 200 : 503)
      .send(document('Readiness', { ready: health.ready, leader: health.leader, failing }));
  });
  app.get('/healthz', async (request, reply) => {
    const verbose = parseInput(healthQuery, request.query).verbose !== undefined;
    const health = await readHealth(options);
    const nowMs = clock.nowMs();
    const checks = health.checks.map(({ name, state, detail, sinceMs }) => ({
      name,
      state,
      detail,
      ageS: Math.max(0, Math.round((nowMs - sinceMs) / 1000)),
    }));
    return reply
      .code(health.ready ? 200 : 503)
      .send(document('Health', { ready: health.ready, leader: health.leader, ...(verbose ? { checks } : {}) }));
  });
  app.get('/metrics', async (_request, reply) => {
    metrics.fleet(await readFleet(options));
    return reply.type(metrics.contentType).send(await metrics.render());
  });
}

/**
 * Probes and scrapes come every few seconds and give up soon; an answer after that helps nobody.
 * A health check that fails is bad health, not a failed request.
 */
async function readHealth({ actions, log, clock, waits }: OperatorApiOptions): Promise<ServiceHealth> {
  try {
    return await within(waits?.probeMs ?? OPERATOR_API_WAITS.probeMs, actions.health());
  } catch (error) {
    log.warn({ error }, 'the health of the service could not be read');
    return {
      ready: false,
      leader: false,
      checks: [{ name: 'service', state: 'unknown', detail: describeError(error), sinceMs: clock.nowMs() }],
    };
  }
}

async function readFleet({ reports, log, waits }: OperatorApiOptions): Promise<StatusDocument | null> {
  try {
    return await within(waits?.probeMs ?? OPERATOR_API_WAITS.probeMs, reports.status());
  } catch (error) {
    log.warn({ error }, 'the fleet could not be read for /metrics');
    return null;
  }
}

async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  const late = AbortSignal.timeout(timeoutMs);
  const timedOut = new Promise<never>((_resolve, reject) => {
    late.addEventListener('abort', () => reject(new Error(`no answer within ${timeoutMs} ms`)), { once: true });
  });
  return Promise.race([work, timedOut]);
}
