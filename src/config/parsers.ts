/** Readers of one variable's text. Their problems never repeat the text of a secret: `variables.ts` says which are. */
import path from 'node:path';
import { nearestWord, parseDuration, formatDuration, quoteValue } from '../model/units.ts';
import type { UnitResult } from '../model/units.ts';
import { LOG_LEVELS } from './types.ts';
import type { ListenAddress, LogLevel } from './types.ts';

/** Linux keeps 108 bytes for a socket's path, the last of which is a zero. */
const SOCKET_PATH_BYTES_MAX = 107;

/** A URL with one of these protocols (`postgres:`); `example` is shown to whom it is refused. */
export function parseUrl(text: string, protocols: readonly string[], example: string): UnitResult<string> {
  const fix = `write a URL such as ${example}`;
  if (!URL.canParse(text)) return { ok: false, problem: 'is not a URL', fix };
  const begins = protocols.map((protocol) => `${protocol}//`).join(' or ');
  if (!protocols.includes(new URL(text).protocol)) return { ok: false, problem: `does not begin with ${begins}`, fix };
  // Drivers decode these and would throw an error of their own, which may show the password.
  if (!isDecodable(text))
    return { ok: false, problem: 'holds a % that begins no %XX', fix: 'write %25 for each % that is meant' };
  return { ok: true, value: text };
}

function isDecodable(url: string): boolean {
  return !/%(?![0-9A-Fa-f]{2})/.test(url);
}

/** An http(s) address without path, query or credentials; a trailing slash is dropped. */
export function parseServiceUrl(text: string): UnitResult<string> {
  const result = parseUrl(text, ['http:', 'https:'], 'https://spillway.example:7777');
  if (!result.ok) return result;
  const url = new URL(text);
  const fix = `write ${url.protocol}//${url.host}`;
  if (url.username !== '' || url.password !== '') return { ok: false, problem: 'holds a user name or password', fix };
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    return { ok: false, problem: 'has a path, query or fragment', fix };
  }
  return { ok: true, value: url.origin };
}

/** `127.0.0.1:7777`, `[::1]:7777`, `host.example:7777`. */
export function parseListen(text: string): UnitResult<ListenAddress> {
  const fix = 'write an address and a port such as 127.0.0.1:7777';
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null) return { ok: false, problem: `${quoteValue(text)} is not an address with a port`, fix };
  if (port > 65_535) return { ok: false, problem: `port ${port} is above 65535`, fix };
  return { ok: true, value: { host: match[1] ?? match[2] ?? '', port } };
}

/** `host:port` as a URL has it. */
export function formatListen(address: ListenAddress): string {
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** A path, made absolute from `cwd`; `~` is refused, because nothing expands it. */
export function parsePath(text: string, cwd: string): UnitResult<string> {
  if (text.includes('\0')) return { ok: false, problem: 'holds a zero character', fix: 'write a file path' };
  if (text.startsWith('~'))
    return { ok: false, problem: 'begins with ~, which is not expanded', fix: 'write the whole path' };
  return { ok: true, value: path.resolve(cwd, text) };
}

/** A path that fits into a socket's address. */
export function parseSocketPath(text: string, cwd: string): UnitResult<string> {
  const result = parsePath(text, cwd);
  if (!result.ok) return result;
  const bytes = Buffer.byteLength(result.value);
  if (bytes <= SOCKET_PATH_BYTES_MAX) return result;
  const fix = 'write a shorter path such as /run/spillway/spillway.sock';
  return {
    ok: false,
    problem: `gives a path of ${bytes} bytes, and a socket's has at most ${SOCKET_PATH_BYTES_MAX}`,
    fix,
  };
}

/** A duration in milliseconds; both ends are allowed. */
export function parseInterval(text: string, minMs: number, maxMs: number): UnitResult<number> {
  const result = parseDuration(text);
  if (!result.ok || (result.value >= minMs && result.value <= maxMs)) return result;
  const fix = `write ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
  return { ok: false, problem: `${text} is too ${result.value < minMs ? 'short' : 'long'}`, fix };
}

export function parseLogLevel(text: string): UnitResult<LogLevel> {
  const level = LOG_LEVELS.find((known) => known === text);
  if (level !== undefined) return { ok: true, value: level };
  const meant = nearestWord(text, LOG_LEVELS);
  const fix = `write one of ${LOG_LEVELS.join(', ')}${meant === null ? '' : `; did you mean ${meant}?`}`;
  return { ok: false, problem: `${quoteValue(text)} is not a level`, fix };
}

export function parseSwitch(text: string): UnitResult<boolean> {
  if (text === 'true' || text === 'false') return { ok: true, value: text === 'true' };
  return { ok: false, problem: `${quoteValue(text)} is neither true nor false`, fix: 'write true or false' };
}

/** Goes into an EC2 tag and into tokens' keyed hashes, so that it stays short and plain. */
export function parseOwner(text: string): UnitResult<string> {
  if (/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(text)) return { ok: true, value: text };
  const fix = 'write 1 to 40 lower-case letters, digits and hyphens, such as studio-berlin';
  return { ok: false, problem: `${quoteValue(text)} is not an owner name`, fix };
}
