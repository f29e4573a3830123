import type { FastifyRequest } from 'fastify';
import { AppError } from '../../model/errors.ts';

const LOOPBACK_NAMES: readonly string[] = ['localhost', '127.0.0.1', '[::1]'];

/** The name in a Host header without its port; null when it is none. */
function hostName(header: string | undefined): string | null {
  const match = /^(\[[0-9a-f:.]{2,45}\]|[a-z0-9.-]{1,253})(?::\d{1,5})?$/i.exec(header ?? '');
  return match?.[1]?.toLowerCase() ?? null;
}

/**
 * A web page can make its own name point to 127.0.0.1 (DNS rebinding) and then read whatever listens there;
 * what it cannot do is send another Host header than its own name.
 * @throws AppError NOT_ALLOWED
 */
export function refuseForeignHost(request: FastifyRequest, allowedHosts: readonly string[]): void {
  const name = hostName(request.headers.host);
  if (name !== null && (LOOPBACK_NAMES.includes(name) || allowedHosts.includes(name))) return;
  throw new AppError('NOT_ALLOWED', `the operator API does not answer to the host name ${JSON.stringify(name ?? '')}`, {
    remedy: 'ask it as localhost, or through the Unix socket',
  });
}

/**
 * Browsers say where a request comes from, and pages cannot change that. Programs other than browsers send neither header.
 * @throws AppError NOT_ALLOWED
 */
export function refuseCrossSite(request: FastifyRequest): void {
  if (request.method === 'GET' || request.method === 'HEAD') return;
  const site = request.headers['sec-fetch-site'];
  const { origin, host } = request.headers;
  const sameSite = site === undefined || site === 'same-origin' || site === 'none';
  const sameOrigin =
    site !== undefined || origin === undefined || origin === `http://${host}` || origin === `https://${host}`;
  if (sameSite && sameOrigin) return;
  throw new AppError('NOT_ALLOWED', 'another web site may not ask the operator API to change anything', {
    remedy: 'use the command line, or the page that the service itself serves',
  });
}
