/** The HTTP face of the region: EC2's Query protocol on `/`, the control face under `/_region/`. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitMs } from '../../model/waits.ts';
import { Ec2Error } from '../ec2-error.ts';
import type { Region } from '../region.ts';
import { answerControl, CONTROL_PREFIX } from './control.ts';
import { answerImds, IMDS_PREFIX } from './imds.ts';
import { actionOf, performForm, writeError } from './operations.ts';
import type { AccessKey } from './signature.ts';
import { verifySignature } from './signature.ts';

/** User-data of 16 KB and 1,000 ids fit many times over. */
const BODY_BYTES_MAX = 1024 * 1024;

export interface WireOptions {
  readonly region: Region;
  readonly accessKeys: readonly AccessKey[];
  /** Called after every request, because it may have changed what happens next. */
  readonly onChange: () => void;
  /** Where an error that is a bug of the simulation goes. */
  readonly onError: (error: unknown) => void;
  /** Those left out come from `WIRE_WAITS`. */
  readonly waits?: Partial<WireWaits>;
}

/** How long the region waits for its callers; see the list of waits. */
export interface WireWaits {
  readonly headersMs: number;
  readonly requestMs: number;
  readonly idleMs: number;
  /** How often Node looks for requests that are over their time. */
  readonly checkMs: number;
}

export const WIRE_WAITS: WireWaits = Object.freeze({
  headersMs: waitMs('simulator.headers'),
  requestMs: waitMs('simulator.request'),
  idleMs: waitMs('simulator.idle'),
  checkMs: 1000,
});

class BodyTooLarge extends Error {}

export function createWireServer(options: WireOptions): Server {
  const waits = { ...WIRE_WAITS, ...options.waits };
  const server = createServer({ connectionsCheckingInterval: waits.checkMs }, (request, response) => {
    handle(options, request, response).catch((error: unknown) => {
      options.onError(error);
      response.destroy();
    });
  });
  server.headersTimeout = waits.headersMs;
  server.requestTimeout = waits.requestMs;
  server.keepAliveTimeout = waits.idleMs;
  return server;
}

async function handle(options: WireOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body: string;
  try {
    body = await readBody(request);
  } catch (error) {
    if (!(error instanceof BodyTooLarge)) return void response.destroy();
    response.writeHead(413, { connection: 'close' }).end();
    return;
  }
  const url = request.url ?? '/';
  if (url.startsWith(CONTROL_PREFIX)) {
    const answer = answerControl(options.region, request.method ?? '', url.slice(CONTROL_PREFIX.length), body);
    options.onChange();
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(JSON.stringify(answer.body));
    return;
  }
  if (url.startsWith(IMDS_PREFIX)) {
    const { method = '', headers } = request;
    const { status, text } = answerImds(options.region, { method, headers, path: url.slice(IMDS_PREFIX.length) });
    response.writeHead(status, { 'content-type': 'text/plain' }).end(text);
    return;
  }
  await answerEc2(options, { request, response, body });
}

async function answerEc2(
  options: WireOptions,
  { request, response, body }: { request: IncomingMessage; response: ServerResponse; body: string },
): Promise<void> {
  const { region } = options;
  const requestId = randomUUID();
  const action = actionOf(body);
  const { status, xml } = perform(options, { request, body, requestId });
  options.onChange();
  const delayMs = region.faults.takeDelayMs(action);
  if (delayMs > 0) await sleep(delayMs, undefined, { ref: false });
  // The call has had its effect; the caller sees a connection that breaks, as when a reply is lost on the way.
  if (region.faults.takeLostReply(action)) return void request.socket.destroy();
  response.writeHead(status, { 'content-type': 'text/xml;charset=UTF-8', 'x-amzn-requestid': requestId }).end(xml);
}

function perform(
  { region, accessKeys, onError }: WireOptions,
  { request, body, requestId }: { request: IncomingMessage; body: string; requestId: string },
): { status: number; xml: string } {
  try {
    if (request.method !== 'POST') throw new Ec2Error('InvalidAction', 'The simulated region takes POST requests');
    const signed = { method: request.method, target: request.url ?? '/', headers: request.headers, body };
    // Callers sign with the real time, whatever clock the region runs on.
    verifySignature(signed, accessKeys, { region: region.settings.region, nowMs: Date.now() });
    return { status: 200, xml: performForm(region, body, requestId) };
  } catch (error) {
    if (error instanceof Ec2Error) return { status: error.httpStatus, xml: writeError(error, requestId) };
    onError(error);
    const internal = new Ec2Error('InternalError', 'An internal error has occurred');
    return { status: internal.httpStatus, xml: writeError(internal, requestId) };
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > BODY_BYTES_MAX) throw new BodyTooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
