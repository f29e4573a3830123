/** Verifies AWS Signature Version 4, header form, as AWS does for a POST to `/`. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { MINUTE_MS } from '../../model/time.ts';
import { Ec2Error } from '../ec2-error.ts';

export interface AccessKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface SignedRequest {
  readonly method: string;
  /** Path and query as in the request line. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** AWS refuses requests whose signature is older than this, or dated further ahead. */
const SKEW_MAX_MS = 5 * MINUTE_MS;

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([a-z0-9-]+)\/([a-z0-9-]+)\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;

/** Throws AuthFailure or RequestExpired unless the request is signed with one of the keys for this region and service. */
export function verifySignature(
  request: SignedRequest,
  keys: readonly AccessKey[],
  at: { region: string; service: string; nowMs: number },
): void {
  const { keyId, day, region, service, signedHeaders, signature } = readAuthorization(request, at.service);
  const key = keys.find(({ accessKeyId }) => accessKeyId === keyId);
  if (key === undefined) throw authFailure('AWS was not able to validate the provided access credentials');
  if (region !== at.region) throw authFailure(`Credential should be scoped to a valid region, not '${region}'`);
  const stamp = headerText(request.headers, 'x-amz-date');
  requireFresh(stamp, day, at.nowMs);
  const toSign = [
    'AWS4-HMAC-SHA256',
    stamp,
    `${day}/${region}/${service}/aws4_request`,
    sha256(canonicalRequest(request, signedHeaders)),
  ];
  const signingKey = [service, 'aws4_request'].reduce<Buffer>(
    hmac,
    hmac(hmac(Buffer.from(`AWS4${key.secretAccessKey}`), day), region),
  );
  const expected = hmac(signingKey, toSign.join('\n'));
  if (!timingSafeEqual(expected, Buffer.from(signature, 'hex'))) {
    throw authFailure('AWS was not able to validate the provided access credentials');
  }
}

function readAuthorization({ headers }: SignedRequest, wanted: string) {
  const match = AUTHORIZATION.exec(headers.authorization ?? '');
  const [, keyId = '', day = '', region = '', service = '', signedHeaders = '', signature = ''] = match ?? [];
  if (service !== wanted) throw authFailure(`The request carries no AWS Signature Version 4 for ${wanted}`);
  return { keyId, day, region, service, signedHeaders, signature };
}

function authFailure(message: string): Ec2Error {
  return new Ec2Error('AuthFailure', message);
}

function requireFresh(stamp: string, day: string, nowMs: number): void {
  const iso = stamp.replace(/^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/, '$1-$2-$3T$4:$5:$6Z');
  const signedAtMs = new Date(iso).getTime();
  if (Number.isNaN(signedAtMs) || !stamp.startsWith(day)) throw authFailure('The request carries no valid X-Amz-Date');
  if (Math.abs(nowMs - signedAtMs) > SKEW_MAX_MS) {
    throw new Ec2Error(
      'RequestExpired',
      `Request has expired. Timestamp date is ${iso}. Current date is ${new Date(nowMs).toISOString()}`,
    );
  }
}

function canonicalRequest({ method, target, headers, body }: SignedRequest, signedHeaders: string): string {
  const [path = '/', query = ''] = target.split('?');
  const lines = signedHeaders
    .split(';')
    .map((name) => `${name}:${headerText(headers, name).trim().replaceAll(/ +/g, ' ')}\n`);
  return [method, path, query.split('&').toSorted().join('&'), lines.join(''), signedHeaders, sha256(body)].join('\n');
}

function headerText(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  return Array.isArray(value) ? value.join(',') : (value ?? '');
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
