import { fastify, type FastifyInstance } from 'fastify';
import { closeWithin } from '../close-within.ts';
import { sendError } from './error-response.ts';
import { refuseForeignHost, refuseCrossSite } from './guards.ts';
import { addExplainRoutes } from './explain-routes.ts';
import { addHealthRoutes } from './health-routes.ts';
import { OPERATOR_API_WAITS, type OperatorApiOptions } from './options.ts';
import { addReadRoutes } from './read-routes.ts';
import { addWriteRoutes } from './write-routes.ts';

/** A command line of 10,000 words fits; more is a mistake. */
const BODY_BYTES_MAX = 256 * 1024;
const HEADER_BYTES_MAX = 16 * 1024;
const CONNECTIONS_MAX = 256;
/** How often Node looks for late requests; its own 30 s would make a limit of 3 s act after 30. */
const CHECK_MS = 500;

/**
 * The API that operators and the CLI speak to, not listening yet: give it a Unix socket (0660) or loopback,
 * because it knows no users. Every wait of it has an end: headers, bodies, handlers, idle connections.
 */
export function createOperatorApi(options: OperatorApiOptions): FastifyInstance {
  const waits = { ...OPERATOR_API_WAITS, ...options.waits };
  const app = fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: waits.requestMs,
    connectionTimeout: waits.silenceMs,
    keepAliveTimeout: waits.idleMs,
    handlerTimeout: waits.handlerMs,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 100 },
    http: { headersTimeout: waits.headersMs, connectionsCheckingInterval: CHECK_MS, maxHeaderSize: HEADER_BYTES_MAX },
  });
  app.server.maxConnections = CONNECTIONS_MAX;
  closeWithin(app, options.clock, waits.closeMs);
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
  addExplainRoutes(app, options);
  addWriteRoutes(app, options);
  return app;
}
