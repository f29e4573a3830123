/** The HTTP face of the region: EC2's Query protocol and EC2 Instance Connect's JSON on `/`, the control face under `/_region/`. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitMs } from '../../model/waits.ts';
import { Ec2Error } from '../ec2-error.ts';
import type { Region } from '../region.ts';
import { answerControl, CONTROL_PREFIX } from './control.ts';
import { answerImds, IMDS_PREFIX } from './imds.ts';
import { CONNECT, isConnectRequest } from './instance-connect.ts';
import { actionOf, performForm, writeError } from './operations.ts';
import type { AwsProtocol } from './protocol.ts';
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
  await answerAws(options, { request, response, body });
}

const EC2: AwsProtocol = {
  service: 'ec2',
  contentType: 'text/xml;charset=UTF-8',
  actionOf: (_request, body) => actionOf(body),
  perform: (region, { body, requestId }) => performForm(region, body, requestId),
  writeError,
};

async function answerAws(
  options: WireOptions,
  { request, response, body }: { request: IncomingMessage; response: ServerResponse; body: string },
): Promise<void> {
  const { region } = options;
  const requestId = randomUUID();
  const protocol = isConnectRequest(request) ? CONNECT : EC2;
  const action = protocol.actionOf(request, body);
  const { status, text } = perform(options, { protocol, request, action, body, requestId });
  options.onChange();
  const delayMs = region.faults.takeDelayMs(action);
  if (delayMs > 0) await sleep(delayMs, undefined, { ref: false });
  // The call has had its effect; the caller sees a connection that breaks, as when a reply is lost on the way.
  if (region.faults.takeLostReply(action)) return void request.socket.destroy();
  response.writeHead(status, { 'content-type': protocol.contentType, 'x-amzn-requestid': requestId }).end(text);
}

interface Asked {
  readonly protocol: AwsProtocol;
  readonly request: IncomingMessage;
  readonly action: string;
  readonly body: string;
  readonly requestId: string;
}

function perform(
  { region, accessKeys, onError }: WireOptions,
  { protocol, request, action, body, requestId }: Asked,
): { status: number; text: string } {
  try {
    if (request.method !== 'POST') throw new Ec2Error('InvalidAction', 'The simulated region takes POST requests');
    const signed = { method: request.method, target: request.url ?? '/', headers: request.headers, body };
    // Callers sign with the real time, whatever clock the region runs on.
    const { service } = protocol;
    verifySignature(signed, accessKeys, { region: region.settings.region, service, nowMs: Date.now() });
    return { status: 200, text: protocol.perform(region, { action, body, requestId }) };
  } catch (error) {
    if (error instanceof Ec2Error) return { status: error.httpStatus, text: protocol.writeError(error, requestId) };
    onError(error);
    const internal = new Ec2Error('InternalError', 'An internal error has occurred');
    return { status: internal.httpStatus, text: protocol.writeError(internal, requestId) };
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
