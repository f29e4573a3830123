/**
 * The instance metadata of the simulated hosts, version 2, under `/_imds/INSTANCE_ID`: they share one loopback with all others, so
 * that they cannot have 169.254.169.254 for themselves. What a spot machine is told of its interruption, and the keys that EC2
 * Instance Connect brought, where its own program on an instance asks for them (there they are signed); the rest is 404.
 */
import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Region } from '../region.ts';

export const IMDS_PREFIX = '/_imds/';

const TOKEN_PATH = 'latest/api/token';
const KEYS_PATH = /^latest\/meta-data\/managed-ssh-keys\/active-keys\/([A-Za-z0-9@._$-]+)\/?$/;
const ACTION_PATH = 'latest/meta-data/spot/instance-action';

interface ImdsRequest {
  readonly method: string;
  /** What follows the prefix. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

/** Tokens hold as long as the region runs, whatever time was asked for. */
function tokenOf(region: Region, instanceId: string): string {
  return createHash('sha256')
    .update(`${region.settings.region}/${region.settings.addressSlot}/${instanceId}`)
    .digest('base64');
}

export function answerImds(
  region: Region,
  { method, path, headers }: ImdsRequest,
): { readonly status: number; readonly text: string } {
  const slash = path.indexOf('/');
  const instanceId = path.slice(0, slash);
  const asked = path.slice(slash + 1);
  if (region.findInstance(instanceId) === null) return { status: 404, text: '404 - Not Found' };
  const token = tokenOf(region, instanceId);
  if (method === 'PUT' && asked === TOKEN_PATH) {
    const hasTtl = /^[1-9]\d{0,4}$/.test(String(headers['x-aws-ec2-metadata-token-ttl-seconds']));
    return hasTtl ? { status: 200, text: token } : { status: 400, text: '400 - Bad Request' };
  }
  if (headers['x-aws-ec2-metadata-token'] !== token) return { status: 401, text: '401 - Unauthorized' };
  const text = method === 'GET' ? tell(region, instanceId, asked) : null;
  return text === null ? { status: 404, text: '404 - Not Found' } : { status: 200, text };
}

/** Null = there is nothing to tell. */
function tell(region: Region, instanceId: string, asked: string): string | null {
  const [, user] = KEYS_PATH.exec(asked) ?? [];
  if (user !== undefined) {
    const keys = region.pushedKeys(instanceId, user);
    return keys.length === 0 ? null : `${keys.join('\n')}\n`;
  }
  const endsAtMs = region.interruptedAtMs(instanceId);
  if (asked !== ACTION_PATH || endsAtMs === null) return null;
  return JSON.stringify({ action: 'terminate', time: `${new Date(endsAtMs).toISOString().slice(0, 19)}Z` });
}
