import { request as httpRequest, type ClientRequest, type RequestOptions } from 'node:http';
import { AppError, ERROR_CODES, type ErrorCode } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';
import { API_VERSION } from './output/output.ts';

/** Where the service listens: a Unix socket of this host, or a base URL. */
export type ServiceAddress =
  | { readonly kind: 'socket'; readonly path: string }
  | { readonly kind: 'url'; readonly url: string };

export type Query = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Largest answer: 1,000 tasks with 64 KiB commands would be more, and are asked for in pages. */
const RESPONSE_BYTES_MAX = 64 * 1024 * 1024;

interface RawResponse {
  readonly status: number;
  readonly body: string;
}

interface Request {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: unknown;
  readonly signal: AbortSignal;
}

/** The operator API of the running service. Every failure is an AppError; the service's own errors keep their code. */
export class ServiceClient {
  readonly #address: ServiceAddress;
  readonly #signal: AbortSignal;

  readonly #requestMs: number;

  /** @param requestMs for one answer; a plan needs EC2's prices and may take its time, nothing else comes near */
  constructor(address: ServiceAddress, signal: AbortSignal, requestMs = waitMs('cli.request')) {
    this.#address = address;
    this.#signal = signal;
    this.#requestMs = requestMs;
  }

  /** One document of the given kind. */
  async get<T extends object>(kind: string, path: string, query: Query = {}): Promise<T> {
    return this.#document<T>(kind, { method: 'GET', path: path + queryString(query), signal: this.#signal });
  }

  async post<T extends object>(kind: string, path: string, body: object): Promise<T> {
    return this.#document<T>(kind, { method: 'POST', path, body, signal: this.#signal });
  }

  /** Up to `limit` items over as many pages as that takes; `more` tells that there would have been others. */
  // eslint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller names what the kind holds, as with get
  async list<T>(
    kind: string,
    path: string,
    query: Query & { readonly limit: number },
  ): Promise<{ items: T[]; more: boolean }> {
    const items: T[] = [];
    let cursor: string | null = null;
    do {
      const limit = Math.min(1000, query.limit - items.length);
      const page: { items: readonly T[]; nextCursor: string | null } = await this.get(kind, path, {
        ...query,
        limit,
        cursor,
      });
      items.push(...page.items);
      cursor = page.items.length === 0 ? null : page.nextCursor;
    } while (cursor !== null && items.length < query.limit);
    return { items, more: cursor !== null };
  }

  async #document<T extends object>(kind: string, request: Request): Promise<T> {
    const response = await this.#send(request);
    const document = this.#parse(response);
    if (document['kind'] === 'Error') throw toAppError(document['error']);
    if (document['kind'] !== kind) throw this.#foreign(`it answered ${response.status} without a ${kind}`);
    return document as T;
  }

  #parse(response: RawResponse): Record<string, unknown> {
    let document: unknown;
    try {
      document = JSON.parse(response.body);
    } catch (error) {
      throw this.#foreign(`it answered ${response.status} and something that is not JSON`, error);
    }
    if (
      typeof document === 'object' &&
      document !== null &&
      'apiVersion' in document &&
      document.apiVersion === API_VERSION
    ) {
      return document;
    }
    throw this.#foreign(`it answered ${response.status} without apiVersion ${API_VERSION}`);
  }

  #foreign(detail: string, cause?: unknown): AppError {
    return new AppError(
      'SERVICE_PROTOCOL',
      `what listens at ${this.#where()} does not speak the operator API of this version: ${detail}`,
      {
        remedy: 'check SPILLWAY_ADDR and SPILLWAY_SOCKET, and that service and command line are of the same version',
        cause,
      },
    );
  }

  #where(): string {
    return this.#address.kind === 'socket' ? this.#address.path : this.#address.url;
  }

  async #send(request: Request): Promise<RawResponse> {
    const signal = AbortSignal.any([request.signal, AbortSignal.timeout(this.#requestMs)]);
    try {
      return await send(await open(this.#address, request, signal), request.body);
    } catch (error) {
      if (request.signal.aborted) throw error;
      if (signal.aborted) {
        throw new AppError(
          'TIMEOUT',
          `the service at ${this.#where()} did not answer within ${this.#requestMs / 1000} s`,
          {
            remedy: 'look at the log of the service, then try again',
            cause: error,
          },
        );
      }
      throw this.#unreachable(error);
    }
  }

  #unreachable(error: unknown): AppError {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'EACCES') {
      return new AppError('NOT_ALLOWED', `you may not open the socket ${this.#where()}`, {
        remedy: 'run the command as the user of the service, or join the group that owns the socket',
        cause: error,
      });
    }
    return new AppError('SERVICE_UNREACHABLE', `no service answers at ${this.#where()}`, {
      remedy: 'start it with `spillway serve`, or say where it listens with SPILLWAY_SOCKET or SPILLWAY_ADDR',
      cause: error,
    });
  }
}

async function open(address: ServiceAddress, request: Request, signal: AbortSignal): Promise<ClientRequest> {
  const headers: Record<string, string> = { accept: 'application/json', connection: 'close' };
  if (request.body !== undefined) headers['content-type'] = 'application/json';
  const options: RequestOptions = { method: request.method, path: request.path, headers, signal, agent: false };
  if (address.kind === 'socket') return httpRequest({ ...options, socketPath: address.path, host: 'localhost' });
  const base = new URL(address.url);
  const target = { ...options, path: base.pathname.replace(/\/$/, '') + request.path };
  if (base.protocol === 'http:') return httpRequest(base, target);
  const https = await import('node:https');
  return https.request(base, target);
}

async function send(outgoing: ClientRequest, body: unknown): Promise<RawResponse> {
  return new Promise<RawResponse>((resolve, reject) => {
    outgoing.on('error', reject);
    outgoing.on('response', (incoming) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      incoming.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > RESPONSE_BYTES_MAX)
          incoming.destroy(new Error(`the answer is larger than ${RESPONSE_BYTES_MAX} bytes`));
        chunks.push(chunk);
      });
      incoming.on('error', reject);
      incoming.on('end', () =>
        resolve({ status: incoming.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      );
    });
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function queryString(query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

function toAppError(value: unknown): AppError {
  const error = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const text = (name: string): string | null => (typeof error[name] === 'string' ? error[name] : null);
  const code = text('code') ?? '';
  const known = (code in ERROR_CODES ? code : 'INTERNAL') as ErrorCode;
  return new AppError(known, text('message') ?? 'the service failed and did not say why', {
    remedy: text('remedy') ?? 'look at the log of the service',
    cause: text('cause') ?? undefined,
  });
}
