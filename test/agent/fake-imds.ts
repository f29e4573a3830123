import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomIds } from '../support/clock.ts';

/** The instance metadata of a spot machine, version 2 only, as EC2 serves it; on loopback. */
export interface FakeImds {
  readonly url: string;
  /** What is there to be read, by path; the rest is 404. */
  readonly documents: Map<string, string>;
  /** How often it was asked without a token that counts. */
  readonly refused: () => number;
  /** Tokens given so far count no more. */
  forgetTokens(): void;
  close(): Promise<void>;
}

export const INSTANCE_ACTION = '/latest/meta-data/spot/instance-action';
export const REBALANCE = '/latest/meta-data/events/recommendations/rebalance';

export async function startImds(): Promise<FakeImds> {
  const documents = new Map<string, string>();
  const tokens = new Set<string>();
  let refused = 0;
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    if (
      method === 'PUT' &&
      url === '/latest/api/token' &&
      headers['x-aws-ec2-metadata-token-ttl-seconds'] === '21600'
    ) {
      const token = randomIds.hex(28);
      tokens.add(token);
      response.end(token);
      return;
    }
    if (method !== 'GET' || !tokens.has(String(headers['x-aws-ec2-metadata-token']))) {
      refused += 1;
      response.writeHead(401).end('<?xml version="1.0"?><html>401 - Unauthorized</html>');
      return;
    }
    const document = documents.get(url);
    if (document === undefined) response.writeHead(404).end('<?xml version="1.0"?><html>404 - Not Found</html>');
    else response.end(document);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    documents,
    refused: () => refused,
    forgetTokens: () => tokens.clear(),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
