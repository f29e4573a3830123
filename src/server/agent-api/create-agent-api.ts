import { fastify } from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AppError, describeError } from '../../model/errors.ts';
import { isId } from '../../model/ids.ts';
import type { AgentId } from '../../model/ids.ts';
import { SECOND_MS } from '../../model/time.ts';
import { waitMs } from '../../model/waits.ts';
import type { AgentGateway } from '../../ports/agent-gateway.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { Ids } from '../../ports/ids.ts';
import { closeWithin } from '../close-within.ts';
import { makeAgentToken } from './agent-token.ts';
import { Credentials, hashToken, readTokenHash } from './credentials.ts';
import { LongPolls } from './long-polls.ts';
import { BODY_BYTES_MAX, encodeOrders, encodeRegistered, parseHeartbeat, parseRegistration } from './protocol.ts';
import type { ProtocolError } from './protocol.ts';
import { RateLimiter } from './rate-limiter.ts';
import type { RateLimits } from './rate-limiter.ts';

/** What one listener for agents takes upon itself; beyond it refuses rather than queues. */
export interface AgentApiLimits {
  readonly connectionsMax: number;
  /** Calls of the gateway at one time; held answers do not count. */
  readonly inFlightMax: number;
  readonly heldMax: number;
  /** From the first byte of a request to its last. */
  readonly requestMs: number;
  /** Not above `requestMs`, or Node never applies that. */
  readonly headersMs: number;
  /** A held answer is silence on the socket; so a dead peer is dropped only some time after the longest hold. */
  readonly silenceMs: number;
  /** Between two requests on one connection. */
  readonly idleMs: number;
  /** How often Node looks for requests that are over their time; its own 30 s would make 2 s act like 30. */
  readonly checkMs: number;
  /** From the beginning of a stop until whoever is still connected is cut off. */
  readonly closeMs: number;
  /**
   * Failed credentials, per address. Only unknown credentials ever count, so that a stranger behind the same address cannot
   * shut out an agent whose credential was seen to be good.
   */
  readonly failures: RateLimits;
  /** Requests with good credentials, per agent: one that runs wild must not take the service from the others. */
  readonly requests: RateLimits;
}

export const AGENT_API_LIMITS: AgentApiLimits = Object.freeze({
  connectionsMax: 20_000,
  // At 80 µs per heartbeat in batches (bench/README.md), 2,500 in flight are a fifth of a second of work: a queue worth waiting in.
  inFlightMax: 2500,
  heldMax: 16_000,
  requestMs: waitMs('agent-api.request'),
  headersMs: waitMs('agent-api.headers'),
  silenceMs: waitMs('agent-api.silence'),
  idleMs: waitMs('agent-api.idle'),
  checkMs: 500,
  closeMs: waitMs('agent-api.close'),
  failures: { burst: 20, perSecond: 0.5, rememberedMax: 10_000 },
  // An agent makes one call after the other. A stream of tasks that end at once makes some 20 a second, and logs come on top.
  requests: { burst: 300, perSecond: 50, rememberedMax: 200_000 },
});

export interface AgentApiOptions {
  readonly gateway: AgentGateway;
  readonly clock: Clock;
  /** 32 bytes; the tokens of agents are made with it. */
  readonly deploymentKey: Buffer;
  /** For the spread of retries. */
  readonly ids: Pick<Ids, 'random'>;
  readonly log: Pick<Log, 'warn' | 'error'>;
  /** Default: `AGENT_API_LIMITS`. */
  readonly limits?: Partial<AgentApiLimits>;
}

/** An answer other than 200. Thrown inside a request and turned into the answer at one place. */
class Refusal extends Error {
  readonly status: number;
  readonly retryAfterS: number | null;

  constructor(status: number, message: string, retryAfterS: number | null = null) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

interface Caller {
  readonly tokenHash: string;
  readonly agentId: AgentId;
}

class AgentApi {
  readonly #options: AgentApiOptions;
  readonly #limits: AgentApiLimits;
  readonly #credentials: Credentials;
  readonly #failures: RateLimiter;
  readonly #requests: RateLimiter;
  readonly #longPolls: LongPolls;
  readonly #callers = new WeakMap<FastifyRequest, Caller>();
  #inFlight = 0;

  constructor(options: AgentApiOptions, limits: AgentApiLimits) {
    this.#options = options;
    this.#limits = limits;
    this.#credentials = new Credentials(options.gateway, options.clock);
    this.#failures = new RateLimiter(limits.failures, options.clock);
    this.#requests = new RateLimiter(limits.requests, options.clock);
    this.#longPolls = new LongPolls(options.gateway, options.clock, limits.heldMax);
  }

  addTo(server: FastifyInstance): void {
    server.removeAllContentTypeParsers();
    server.addContentTypeParser('text/plain', { parseAs: 'string' }, (_request, body, done) => done(null, body));
    server.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
      done(null, body),
    );
    server.setErrorHandler((error, request, reply) => this.#refuse(error, request, reply));
    server.setNotFoundHandler((_request, reply) => send(reply, 404, 'error no such path\n'));
    server.addHook('preClose', (done) => {
      this.#longPolls.close();
      done();
    });
    // Credentials are checked on the headers alone: no stranger makes us read a body.
    const knowing =
      (recall: (tokenHash: string) => AgentId | null) =>
      async (request: FastifyRequest): Promise<void> => {
        const caller = await this.#authenticate(request, recall);
        this.#slowDown(caller.agentId);
        this.#callers.set(request, caller);
      };
    const presumed = knowing((tokenHash) => this.#credentials.presumed(tokenHash));
    const remembered = knowing((tokenHash) => this.#credentials.remembered(tokenHash));
    server.post('/agent/v1/register', (request, reply) => this.#register(request, reply));
    server.post('/agent/v1/heartbeat', { onRequest: presumed }, (request, reply) => this.#heartbeat(request, reply));
    server.post('/agent/v1/tasks/:taskId/log', { onRequest: remembered }, (request, reply) =>
      this.#appendLog(request, reply),
    );
  }

  async #register(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const enrolmentTokenHash = this.#readToken(request);
    const registration = unwrap(parseRegistration(textOf(request)));
    const { gateway, deploymentKey } = this.#options;
    const token = makeAgentToken(deploymentKey, enrolmentTokenHash, registration.bootId);
    const asked = { enrolmentTokenHash, agentTokenHash: hashToken(token), registration };
    const outcome = await this.#admitted(() => gateway.register(asked));
    if (outcome.kind === 'refused') throw this.#failed(request, 'the enrolment token is unknown, used or expired');
    return send(reply, 200, encodeRegistered(outcome.agentId, token, outcome.timing));
  }

  async #heartbeat(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { agentId, tokenHash } = this.#callerOf(request);
    const { report, waitSeconds } = unwrap(parseHeartbeat(textOf(request)));
    const outcome = await this.#admitted(() => this.#options.gateway.heartbeat(agentId, report, tokenHash));
    if (outcome.kind === 'unknown-agent') {
      this.#credentials.forget(tokenHash);
      throw new Refusal(401, 'this agent was removed');
    }
    if (outcome.kind === 'superseded') throw new Refusal(409, 'a newer report or a newer agent came before');
    const orders = await this.#longPolls.hold({
      agentId,
      report,
      orders: outcome.orders,
      mark: outcome.mark,
      waitMs: waitSeconds * SECOND_MS,
      onGone: (gone) => reply.raw.once('close', gone),
    });
    return send(reply, 200, encodeOrders(orders));
  }

  async #appendLog(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { agentId } = this.#callerOf(request);
    const { taskId } = request.params as { taskId: string };
    const query = request.query as { attempt?: unknown; offset?: unknown };
    const attempt = readCount(query.attempt);
    const byteOffset = readCount(query.offset);
    if (!isId('tk', taskId)) throw new Refusal(404, 'not the id of a task');
    if (attempt === null || attempt < 1 || byteOffset === null)
      throw new Refusal(400, 'attempt and offset must be whole numbers');
    const content = request.body;
    if (!(content instanceof Uint8Array) || content.byteLength === 0) throw new Refusal(400, 'no bytes');
    const part = { taskId, attempt, byteOffset, content };
    const outcome = await this.#admitted(() => this.#options.gateway.appendLog(agentId, part));
    if (outcome.kind === 'not-yours') throw new Refusal(403, 'this attempt is not of this agent');
    if (outcome.kind === 'full') throw new Refusal(413, 'the log of this attempt is full');
    return send(reply, 200, `next ${outcome.nextByteOffset}\n`);
  }

  async #authenticate(request: FastifyRequest, recall: (tokenHash: string) => AgentId | null): Promise<Caller> {
    const header = readTokenHash(request.headers.authorization);
    const recalled = header === null ? null : recall(header);
    if (header !== null && recalled !== null) return { tokenHash: header, agentId: recalled };
    const tokenHash = this.#readToken(request);
    const agentId = await this.#admitted(() => this.#credentials.ask(tokenHash));
    if (agentId === null) throw this.#failed(request, 'credentials not known');
    return { tokenHash, agentId };
  }

  /** What is refused is not counted, or an agent that does not wait would never be heard again. */
  #slowDown(agentId: AgentId): void {
    const waitSeconds = this.#requests.waitSeconds(agentId);
    if (waitSeconds > 0) throw new Refusal(429, 'this agent asks too often', waitSeconds);
    this.#requests.count(agentId);
  }

  #readToken(request: FastifyRequest): string {
    const waitSeconds = this.#failures.waitSeconds(request.ip);
    if (waitSeconds > 0) throw new Refusal(429, 'too many failures from this address', waitSeconds);
    const tokenHash = readTokenHash(request.headers.authorization);
    if (tokenHash === null) throw this.#failed(request, 'no bearer token');
    return tokenHash;
  }

  #failed(request: FastifyRequest, message: string): Refusal {
    this.#failures.count(request.ip);
    this.#options.log.warn({ address: request.ip, path: request.routeOptions.url }, `agent refused: ${message}`);
    return new Refusal(401, message);
  }

  #callerOf(request: FastifyRequest): Caller {
    const caller = this.#callers.get(request);
    if (caller === undefined) throw new Refusal(401, 'no credentials');
    return caller;
  }

  /** Refuses at once instead of queueing: with manners on the agents' side that doubles what gets through. */
  async #admitted<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inFlight >= this.#limits.inFlightMax) throw new Refusal(429, 'too busy', this.#retryAfterS());
    this.#inFlight += 1;
    try {
      return await work();
    } finally {
      this.#inFlight -= 1;
    }
  }

  /** 1 to 5 s, spread so that those refused together do not return together. */
  #retryAfterS(): number {
    return 1 + Math.floor(this.#options.ids.random() * 5);
  }

  #refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    if (error instanceof Refusal) return sendRefusal(error, reply);
    const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
    if (status >= 400 && status < 500) return send(reply, status, `error ${describeError(error)}\n`);
    const path = request.routeOptions.url;
    reply.header('retry-after', this.#retryAfterS());
    if (error instanceof AppError && error.retryable) {
      this.#options.log.warn({ path, error: describeError(error) }, 'agent request failed; it will be repeated');
      return send(reply, 503, 'error try again later\n');
    }
    this.#options.log.error({ path, err: error }, 'agent request failed');
    return send(reply, 500, 'error try again later\n');
  }
}

function sendRefusal(refusal: Refusal, reply: FastifyReply): FastifyReply {
  if (refusal.retryAfterS !== null) reply.header('retry-after', refusal.retryAfterS);
  if (refusal.status === 401) reply.header('www-authenticate', 'Bearer');
  // What is left of a body that nobody will read must not be taken for the next request.
  if (refusal.status === 401 || refusal.status === 429) reply.header('connection', 'close');
  return send(reply, refusal.status, `error ${refusal.message}\n`);
}

function textOf(request: FastifyRequest): string {
  return typeof request.body === 'string' ? request.body : '';
}

function unwrap<T>(parsed: { ok: true; value: T } | { ok: false; error: ProtocolError }): T {
  if (parsed.ok) return parsed.value;
  throw new Refusal(400, `line ${parsed.error.line}: ${parsed.error.message}`);
}

function readCount(value: unknown): number | null {
  return typeof value === 'string' && /^(?:0|[1-9][0-9]{0,14})$/.test(value) ? Number(value) : null;
}

function send(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply.code(status).type('text/plain; charset=utf-8').send(text);
}

/**
 * The agents' HTTP interface: `POST /agent/v1/{register,heartbeat,tasks/ID/log}` as in `src/agent/PROTOCOL.md`. Not
 * listening yet. It belongs on a listener of its own. `close()` lets go of held answers first.
 */
export function createAgentApi(options: AgentApiOptions): FastifyInstance {
  const limits = { ...AGENT_API_LIMITS, ...options.limits };
  const server: FastifyInstance = fastify({
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: limits.requestMs,
    connectionTimeout: limits.silenceMs,
    keepAliveTimeout: limits.idleMs,
    forceCloseConnections: 'idle',
    http: { headersTimeout: limits.headersMs, connectionsCheckingInterval: limits.checkMs, maxHeaderSize: 16 * 1024 },
    routerOptions: { maxParamLength: 64 },
    exposeHeadRoutes: false,
  });
  server.server.maxConnections = limits.connectionsMax;
  closeWithin(server, options.clock, limits.closeMs);
  new AgentApi(options, limits).addTo(server);
  return server;
}
