/** Goal: AWS, machines and the service itself are not waited for without end. Method: ports that connect to nobody, answers that never end. */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createEc2Cloud } from '../../src/cloud/ec2.ts';
import type { Ec2Timeouts } from '../../src/cloud/ec2-client.ts';
import { ServiceClient } from '../../src/commands/service-client.ts';
import { waitMs } from '../../src/model/waits.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { REGION, useEndpoint } from '../cloud/builders.ts';
import { realClock } from '../support/clock.ts';
import { spillway } from '../commands/spillway.ts';
import { test as databaseTest } from '../support/database.ts';
import { blackHole, fullHouse, shows } from '../support/waits.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { CALM, World } from '../support/world.ts';

async function cloudAt(port: number, timeouts: Partial<Ec2Timeouts>) {
  const restore = useEndpoint(`http://127.0.0.1:${port}`);
  const cloud = await createEc2Cloud({ clock: realClock, timeouts });
  onTestFinished(() => {
    cloud.close();
    restore();
  });
  return cloud;
}

async function answering(answer: (response: ServerResponse) => void): Promise<number> {
  const server = createServer((_request, response) => answer(response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const PAGE = `<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-0123456789abcdef0</instanceId>
  <instanceState><name>running</name></instanceState></item></instancesSet></item></reservationSet><nextToken>more</nextToken>
  </DescribeInstancesResponse>`;

describe('AWS', () => {
  test(`an endpoint that is never connected to ${shows('aws.connect')}`, async () => {
    const cloud = await cloudAt(await fullHouse(), { connectMs: 100, requestMs: 60_000, callMs: 60_000 });
    await expect(cloud.listInstances(REGION, 'test')).rejects.toMatchObject({ code: 'AWS_UNREACHABLE' });
  });

  test(`an answer that begins and never ends ${shows('aws.call')}`, async () => {
    const port = await answering((response) => void response.writeHead(200).write('<DescribeInstancesResponse>'));
    const cloud = await cloudAt(port, { connectMs: 60_000, requestMs: 60_000, callMs: 200 });
    await expect(cloud.listInstances(REGION, 'test')).rejects.toMatchObject({ code: 'AWS_UNREACHABLE' });
  });

  test(`pages without end ${shows('aws.listing')}`, async () => {
    const port = await answering((response) => void response.writeHead(200, { 'content-type': 'text/xml' }).end(PAGE));
    const cloud = await cloudAt(port, { listMs: 300 });
    const listing = await cloud.listInstances(REGION, 'test');
    expect(listing.complete).toBe(false);
    expect(listing.instances.length).toBeGreaterThan(0);
  });
});

describe('machines', () => {
  test(`a port that is never connected to counts as closed ${shows('ssh.probe')}`, async () => {
    const route = { host: '127.0.0.1', port: await fullHouse(), jumps: [] };
    for (const transport of ['ssh2', 'openssh'] as const) {
      expect(await createShell().isOpen({ ...route, transport }, 100)).toBe(false);
    }
  });

  databaseTest('steps give their sessions the numbers of the list', async ({ pool }) => {
    const policy = worldPolicy({
      ready: { command: 'is-ready' },
      drain: { hooks: { beforeDrain: 'save-state', beforeTerminate: 'say-goodbye' } },
    });
    const world = await World.create(pool, { ...CALM, policies: [policy] });
    const { steps } = world.process;
    const sessions: number[] = [];
    const probes: number[] = [];
    const shell: typeof steps.shell = {
      isOpen: async (route, deadlineMs) => {
        probes.push(deadlineMs);
        return await steps.shell.isOpen(route, deadlineMs);
      },
      withSession: async (target, deadlineMs, use) => {
        sessions.push(deadlineMs);
        return await steps.shell.withSession(target, deadlineMs, use);
      },
    };
    world.process = { ...world.process, steps: { ...steps, shell } };
    await world.submit(1, 10);
    await world.runUntil('it ended', async () => (await world.count('machines', 'terminated')) === 1, 3_600_000);
    const names = ['ssh.rotate', 'ssh.join', 'ssh.ready-command', 'ssh.hook', 'ssh.hook'] as const;
    expect(sessions).toEqual(names.map(waitMs));
    expect(new Set(probes)).toEqual(new Set([waitMs('ssh.probe')]));
  });
});

test(`a service that never answers a line that is being completed ${shows('cli.names')}`, async () => {
  const { port } = await blackHole();
  const env = { SPILLWAY_ADDR: `http://127.0.0.1:${port}` };
  expect(await spillway(['completion', 'names', 'agents'], { env })).toEqual({ exitCode: 0, stdout: '', stderr: '' });
});

test(`a service that never answers a command ${shows('cli.request')}`, async () => {
  const { port } = await blackHole();
  const client = new ServiceClient({ kind: 'url', url: `http://127.0.0.1:${port}` }, new AbortController().signal, 100);
  await expect(client.get('Status', '/v1/status')).rejects.toMatchObject({ code: 'TIMEOUT' });
});
