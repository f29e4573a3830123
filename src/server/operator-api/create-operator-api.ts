import { fastify, type FastifyInstance } from 'fastify';
import { closeWithin } from '../close-within.ts';
import { sendError } from './error-response.ts';
import { refuseForeignHost, refuseCrossSite } from './guards.ts';
import { addHealthRoutes } from './health-routes.ts';
import type { OperatorApiOptions } from './options.ts';
import { addReadRoutes } from './read-routes.ts';
import { addWriteRoutes } from './write-routes.ts';

/** A command line of 10,000 words fits; more is a mistake. */
const BODY_BYTES_MAX = 256 * 1024;
const HEADER_BYTES_MAX = 16 * 1024;
const CONNECTIONS_MAX = 256;
/** For the answers under way when the service stops. */
const CLOSE_MS = 5_000;

/**
 * The API that operators and the CLI speak to, not listening yet: give it a Unix socket (0660) or loopback,
 * because it knows no users. Every wait of it has an end: headers, bodies, handlers, idle connections.
 */
export function createOperatorApi(options: OperatorApiOptions): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: 10_000,
    connectionTimeout: 60_000,
    keepAliveTimeout: 5000,
    handlerTimeout: options.handlerTimeoutMs ?? 30_000,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 100 },
    // Node looks for late requests every 30 s unless told otherwise; then a limit of 3 s would act after 30.
    http: { headersTimeout: 3000, connectionsCheckingInterval: 500, maxHeaderSize: HEADER_BYTES_MAX },
  });
  app.server.maxConnections = CONNECTIONS_MAX;
  closeWithin(app, options.clock, CLOSE_MS);
  // JSON only: a form or text of another page then cannot even be parsed.
  app.removeContentTypeParser('text/plain');
  app.addHook('onRequest', async (request) => {
    refuseForeignHost(request, options.allowedHosts ?? []);
    refuseCrossSite(request);
  });
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
  });
  app.setErrorHandler((error, request, reply) => sendError(error, { request, reply, log: options.log }));
  app.setNotFoundHandler((request, reply) => sendError(null, { request, reply, log: options.log }));
  addHealthRoutes(app, options);
  addReadRoutes(app, options);
  addWriteRoutes(app, options);
  return app;
}
