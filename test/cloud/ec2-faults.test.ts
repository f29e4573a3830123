/**
 * Goal: whatever happens on the wire, a launch ends in time as what is known of it, and never is sent twice by one call.
 * Method: the unmodified SDK against a small HTTP server that fails on purpose and counts what reached it.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { openCallGate } from '../../src/cloud/call-gate.ts';
import { createEc2Cloud } from '../../src/cloud/ec2.ts';
import type { Ec2Cloud } from '../../src/cloud/ec2.ts';
import type { ApiBudget } from '../../src/ports/api-budget.ts';
import type { Clock } from '../../src/ports/clock.ts';
import { freePort } from '../support/server-program.ts';
import { realClock } from '../support/clock.ts';
import { REGION, runRequest, useEndpoint } from './builders.ts';
import { shows } from '../support/waits.ts';

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

const timeouts = { connectMs: 2000, requestMs: 1500, callMs: 3000, listMs: 6000 };
const requests: URLSearchParams[] = [];
let answer: Answer = () => undefined;
let cloud: Ec2Cloud;
let restore: () => void = () => undefined;
let endpoint = '';

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    requests.push(new URLSearchParams(Buffer.concat(chunks).toString()));
    answer(response, request);
  });
});

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  endpoint = `http://127.0.0.1:${address.port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(async () => {
  requests.length = 0;
  restore = useEndpoint(endpoint);
  cloud = await createEc2Cloud({ clock: realClock, timeouts });
});
afterEach(() => {
  cloud.close();
  restore();
  vi.unstubAllEnvs();
});

function xml(status: number, text: string): Answer {
  return (response) => response.writeHead(status, { 'content-type': 'text/xml' }).end(text);
}

function ec2Error(status: number, code: string, message = 'text'): Answer {
  return xml(
    status,
    `<?xml version="1.0"?><Response><Errors><Error><Code>${code}</Code><Message>${message}</Message></Error></Errors><RequestID>r</RequestID></Response>`,
  );
}

const launched = xml(
  200,
  `<?xml version="1.0"?><RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><instancesSet><item>
   <instanceId>i-0123456789abcdef0</instanceId><privateIpAddress>10.0.0.9</privateIpAddress>
   <placement><availabilityZone>us-east-1a</availabilityZone></placement><launchTime>2026-11-22T12:00:00.000Z</launchTime>
   </item></instancesSet></RunInstancesResponse>`,
);

function listing(ids: readonly string[], nextToken: string): Answer {
  const items = ids.map(
    (id) => `<item><instanceId>${id}</instanceId><instanceState><name>running</name></instanceState></item>`,
  );
  return xml(
    200,
    `<DescribeInstancesResponse><reservationSet><item><instancesSet>${items.join('')}</instancesSet></item></reservationSet><nextToken>${nextToken}</nextToken></DescribeInstancesResponse>`,
  );
}

describe('a launch', () => {
  test('that is answered tells the instances', async () => {
    answer = launched;
    expect(await cloud.runInstances(runRequest())).toEqual({
      kind: 'launched',
      instances: [
        {
          instanceId: 'i-0123456789abcdef0',
          privateIp: '10.0.0.9',
          zone: 'us-east-1a',
          launchTimeMs: Date.parse('2026-11-22T12:00:00Z'),
        },
      ],
    });
  });

  const unknowns: Readonly<Record<string, Answer>> = {
    'a connection cut after the effect': (response) => void response.destroy(),
    'a connection reset in the middle of the answer': (response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('<RunInstancesResponse>', () => response.socket?.resetAndDestroy());
    },
    'an answer that never comes': () => undefined,
    'an answer that begins and never ends': (response) => void response.writeHead(200).write('<RunInstancesResponse>'),
    'a 503 without a body': (response) => void response.writeHead(503).end(),
    'a 500 of EC2': ec2Error(500, 'InternalError'),
    'a 503 of EC2': ec2Error(503, 'Unavailable'),
    'a 502 page of a proxy': xml(502, '<html><body>Bad gateway</body></html>'),
    'a 403 page of a proxy': xml(403, '<html><body>Forbidden</body></html>'),
    'a 404 of something else': (response) => void response.writeHead(404).end('not here'),
    'garbage instead of XML': xml(200, '<<<>>> not & xml'),
    'half an XML document': xml(200, '<RunInstancesResponse><instancesSet><item><instanceId>i-'),
    'an empty success': xml(200, ''),
    'a success without instances': xml(200, '<RunInstancesResponse><instancesSet/></RunInstancesResponse>'),
    'another document': xml(200, '<html><body>Login required</body></html>'),
  };

  test.each(Object.entries(unknowns))(
    'that meets %s has an unknown outcome and was sent once',
    async (_name, fault) => {
      answer = fault;
      const startMs = performance.now();
      const outcome = await cloud.runInstances(runRequest());
      expect(outcome).toMatchObject({ kind: 'unknown', code: expect.stringMatching(/\w/) });
      expect(requests.length).toBe(1);
      expect(performance.now() - startMs).toBeLessThan(timeouts.callMs + 2000);
    },
  );

  test.each([
    ['RequestLimitExceeded', 503, { kind: 'throttled' }],
    ['InsufficientInstanceCapacity', 500, { kind: 'refused', errorClass: 'capacity' }],
    ['VcpuLimitExceeded', 400, { kind: 'refused', errorClass: 'quota' }],
    ['UnauthorizedOperation', 403, { kind: 'refused', errorClass: 'auth' }],
    ['AuthFailure', 401, { kind: 'refused', errorClass: 'auth' }],
    ['InvalidAMIID.NotFound', 400, { kind: 'refused', errorClass: 'config' }],
    ['IdempotentParameterMismatch', 400, { kind: 'refused', errorClass: 'mismatch' }],
    ['IdempotentInstanceTerminated', 400, { kind: 'refused', errorClass: 'ended' }],
  ])('that EC2 answers with %s is told as such and was sent once', async (code, status, expected) => {
    answer = ec2Error(status, code);
    expect(await cloud.runInstances(runRequest())).toEqual({ ...expected, code, message: 'text' });
    expect(requests.length).toBe(1);
  });

  test('with nobody listening has an unknown outcome', async () => {
    restore();
    restore = useEndpoint(`http://127.0.0.1:${await freePort()}`);
    expect(await cloud.runInstances(runRequest())).toMatchObject({ kind: 'unknown' });
  });

  test('without credentials is refused before anything is sent', async () => {
    delete process.env['AWS_ACCESS_KEY_ID'];
    delete process.env['AWS_SECRET_ACCESS_KEY'];
    const outcome = await cloud.runInstances(runRequest());
    expect(outcome).toMatchObject({ kind: 'refused', errorClass: 'auth', code: 'CredentialsProviderError' });
    expect(requests.length).toBe(0);
  });

  test.each([
    ['wall clock', { wallMs: 0, monotonicMs: Infinity }],
    ['monotonic clock', { wallMs: Infinity, monotonicMs: 0 }],
  ])('whose time to be signed has passed by the %s is not sent', async (_clock, moment) => {
    answer = launched;
    const outcome = await cloud.runInstances(runRequest({ signBefore: moment }));
    expect(outcome).toMatchObject({ kind: 'throttled', code: 'SignDeadlinePassed' });
    expect(requests.length).toBe(0);
  });

  test('is judged by the clock at the moment of signing, not at the call', async () => {
    answer = launched;
    let asked = 0;
    // The first look is the fence's: time jumps between the call and it, as when a process was stopped.
    const jumping: Clock = { ...realClock, nowMs: () => ((asked += 1), 1_000_000) };
    const slow = await createEc2Cloud({ clock: jumping, timeouts });
    expect(
      await slow.runInstances(runRequest({ signBefore: { wallMs: 999_999, monotonicMs: Infinity } })),
    ).toMatchObject({
      code: 'SignDeadlinePassed',
    });
    expect(
      await slow.runInstances(runRequest({ signBefore: { wallMs: 1_000_000, monotonicMs: Infinity } })),
    ).toMatchObject({ kind: 'launched' });
    slow.close();
    expect([asked, requests.length]).toEqual([2, 1]);
  });

  test('with more user-data than EC2 takes is refused before anything is sent', async () => {
    answer = launched;
    const outcome = await cloud.runInstances(runRequest({ userData: 'ä'.repeat(8193) }));
    expect(outcome).toMatchObject({ kind: 'refused', errorClass: 'config', code: 'InvalidUserData.Malformed' });
    expect(requests.length).toBe(0);
    expect(await cloud.runInstances(runRequest({ userData: 'ä'.repeat(8192) }))).toMatchObject({ kind: 'launched' });
  });

  test('repeated sends the same parameters to the byte', async () => {
    answer = launched;
    await cloud.runInstances(runRequest());
    await cloud.runInstances(runRequest());
    expect(requests.length).toBe(2);
    expect(requests[0]?.toString()).toBe(requests[1]?.toString());
    expect(requests[0]?.get('ClientToken')).toBe('sw1.token');
  });
});

describe('a listing', () => {
  test('goes through all pages and is complete', async () => {
    answer = (response, request) => {
      const page = requests.at(-1)?.get('NextToken');
      (page === 'two' ? listing(['i-2'], '') : listing(['i-1'], 'two'))(response, request);
    };
    const { instances, complete } = await cloud.listInstances(REGION, 'test');
    expect([instances.map((instance) => instance.instanceId), complete]).toEqual([['i-1', 'i-2'], true]);
    expect(requests[0]?.get('Filter.1.Name')).toBe('tag:spillway:owner');
    expect(requests[0]?.get('Filter.1.Value.1')).toBe('test');
    expect(requests[0]?.get('MaxResults')).toBe('1000');
  });

  test('whose second page fails is told as incomplete, and why is logged', async () => {
    answer = (response, request) => {
      const page = requests.at(-1)?.get('NextToken');
      (page === 'two' ? ec2Error(400, 'InvalidNextToken') : listing(['i-1'], 'two'))(response, request);
    };
    const lines: object[] = [];
    const logging = await createEc2Cloud({
      clock: realClock,
      timeouts,
      logger: { warn: (fields) => void lines.push(fields) },
    });
    const { instances, complete } = await logging.listInstances(REGION, 'test');
    logging.close();
    expect([instances.length, complete]).toEqual([1, false]);
    expect(lines).toEqual([expect.objectContaining({ region: REGION, reason: 'failure' })]);
  });

  test('with an instance that cannot be read is incomplete', async () => {
    answer = xml(
      200,
      '<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId></item></instancesSet></item></reservationSet></DescribeInstancesResponse>',
    );
    expect(await cloud.listInstances(REGION, 'test')).toMatchObject({ instances: [], complete: false });
  });

  test('with a page that came twice, in the place of another, is incomplete', async () => {
    answer = (response, request) => {
      const page = requests.at(-1)?.get('NextToken');
      (page === 'two' ? listing(['i-1', 'i-2'], '') : listing(['i-1', 'i-2'], 'two'))(response, request);
    };
    expect(await cloud.listInstances(REGION, 'test')).toMatchObject({ complete: false });
  });

  test('is tried again when EC2 stumbles', async () => {
    answer = (response, request) =>
      (requests.length === 1 ? ec2Error(503, 'Unavailable') : listing(['i-1'], ''))(response, request);
    expect(await cloud.listInstances(REGION, 'test')).toMatchObject({ complete: true });
    expect(requests.length).toBe(2);
  });

  test.each([
    ['RequestLimitExceeded', 503, 'AWS_THROTTLED'],
    ['UnauthorizedOperation', 403, 'AWS_AUTH'],
    ['InternalError', 500, 'AWS_UNREACHABLE'],
  ])('that fails from the start with %s throws', async (code, status, appCode) => {
    answer = ec2Error(status, code);
    await expect(cloud.listInstances(REGION, 'test')).rejects.toMatchObject({
      code: appCode,
      remedy: expect.stringMatching(/\w/),
      details: { awsCode: code, httpStatus: status },
    });
  });

  test('is sent three times at most, whatever the SDK is told to try', async () => {
    vi.stubEnv('AWS_MAX_ATTEMPTS', '7');
    vi.stubEnv('AWS_RETRY_MODE', 'adaptive');
    answer = ec2Error(500, 'InternalError');
    const told = await createEc2Cloud({ clock: realClock, timeouts });
    await expect(told.listInstances(REGION, 'test').finally(() => told.close())).rejects.toMatchObject({
      code: 'AWS_UNREACHABLE',
    });
    expect(requests.length).toBe(3);
  });

  test('passes the gate once for each page', async () => {
    answer = (response, request) => {
      const page = requests.at(-1)?.get('NextToken');
      (page === 'two' ? listing(['i-2'], '') : listing(['i-1'], 'two'))(response, request);
    };
    const taken: string[] = [];
    const budget: ApiBudget = {
      take: async (region, bucket, instances) => {
        taken.push(`${requests.length} sent: ${region} ${bucket} ${instances}`);
        return { kind: 'taken' };
      },
      reportThrottle: async () => 0,
    };
    const gate = openCallGate({ clock: realClock, budget });
    const gated = await createEc2Cloud({ clock: realClock, timeouts, gate });
    await gated.listInstances(REGION, 'test').finally(() => gated.close());
    expect(taken).toEqual([`0 sent: ${REGION} non-mutating 0`, `1 sent: ${REGION} non-mutating 0`]);
  });

  test(`of an endpoint that hangs ends in time as AWS_UNREACHABLE ${shows('aws.request')}`, async () => {
    answer = () => undefined;
    await expect(cloud.listInstances(REGION, 'test')).rejects.toMatchObject({ code: 'AWS_UNREACHABLE' });
  });

  test.each(['*', 'a?', '', 'a,b'])('for an owner that EC2 would read as a pattern (%j) is a bug', async (owner) => {
    await expect(cloud.listInstances(REGION, owner)).rejects.toThrow('not a name of an owner');
  });
});

describe('terminating', () => {
  const ids = ['i-0123456789abcdef0', 'i-0123456789abcdef1', 'i-0123456789abcdef2'];

  test('names those of the ids that EC2 does not know', async () => {
    answer = ec2Error(400, 'InvalidInstanceID.NotFound', `The instance IDs '${ids[0]}, ${ids[2]}' do not exist`);
    expect(await cloud.terminateInstances(REGION, ids)).toEqual({ kind: 'not-found', instanceIds: [ids[0], ids[2]] });
  });

  test('one id needs no text to be named', async () => {
    answer = ec2Error(400, 'InvalidInstanceID.NotFound', 'gone');
    expect(await cloud.terminateInstances(REGION, ids.slice(0, 1))).toEqual({
      kind: 'not-found',
      instanceIds: ids.slice(0, 1),
    });
  });

  test('never calls one missing that EC2 did not name', async () => {
    answer = ec2Error(400, 'InvalidInstanceID.NotFound', 'some do not exist');
    await expect(cloud.terminateInstances(REGION, ids)).rejects.toMatchObject({ code: 'AWS_CONFIG' });
  });

  test('is sent once, because its step repeats it', async () => {
    answer = ec2Error(503, 'Unavailable');
    await expect(cloud.terminateInstances(REGION, ids)).rejects.toMatchObject({ code: 'AWS_UNREACHABLE' });
    expect(requests.length).toBe(1);
  });

  test.each([
    ['wall clock', { wallMs: 0, monotonicMs: Infinity }],
    ['monotonic clock', { wallMs: Infinity, monotonicMs: 0 }],
  ])('is not sent by a leader whose time to sign has passed by the %s', async (_clock, moment) => {
    expect(await cloud.terminateInstances(REGION, ids, moment)).toEqual({ kind: 'late' });
    expect(requests.length).toBe(0);
    answer = xml(200, '<TerminateInstancesResponse><instancesSet/></TerminateInstancesResponse>');
    const open = { wallMs: Infinity, monotonicMs: Infinity };
    expect(await cloud.terminateInstances(REGION, ids, open)).toEqual({ kind: 'accepted' });
    expect(requests.length).toBe(1);
  });

  test('nothing asks EC2 nothing, and more than 1,000 is a bug', async () => {
    expect(await cloud.terminateInstances(REGION, [])).toEqual({ kind: 'accepted' });
    await expect(
      cloud.terminateInstances(
        REGION,
        Array.from({ length: 1001 }, () => 'i-1'),
      ),
    ).rejects.toThrow('1,000');
    expect(requests.length).toBe(0);
  });
});
