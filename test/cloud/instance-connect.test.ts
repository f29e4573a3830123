/**
 * Goal: the adapter and EC2 Instance Connect mean the same by everything they say to each other.
 * Method: the unmodified SDK against the simulated region, with the project's own IAM policy enforced.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createEc2Cloud } from '../../src/cloud/ec2.ts';
import type { Ec2Cloud } from '../../src/cloud/ec2.ts';
import { openCallGate } from '../../src/cloud/call-gate.ts';
import { SIMULATED_ACCESS_KEY } from '../../src/simulator/world.ts';
import { startRegion } from '../../src/simulator/start.ts';
import type { RunningRegion } from '../../src/simulator/start.ts';
import { makeKeyPair } from '../ssh/ssh-server.ts';
import { realClock } from '../support/clock.ts';
import { freePort } from '../support/server-program.ts';
import { until } from '../support/wait.ts';
import { REGION, runRequest, useEndpoint } from './builders.ts';

const KEY = makeKeyPair().public;
const calls: string[] = [];
let simulated: RunningRegion;
let cloud: Ec2Cloud;
let restore: () => void = () => undefined;
let instanceId = '';

beforeAll(async () => {
  simulated = await startRegion({
    owner: 'test',
    sshPort: await freePort(),
    pendingMs: 50,
    bootMs: 100,
    terminateMs: 50,
    throttling: false,
  });
  restore = useEndpoint(simulated.endpoint, simulated.accessKey);
  const meter = {
    ec2Called: (action: string) => void calls.push(action),
    ec2Throttled: (action: string) => void calls.push(`${action} throttled`),
    ec2PutOff: () => undefined,
  };
  const gate = openCallGate({ clock: realClock, random: () => 0, meter });
  cloud = await createEc2Cloud({
    clock: realClock,
    gate,
    timeouts: { connectMs: 2000, requestMs: 2000, callMs: 8000 },
  });
  const outcome = await cloud.runInstances(runRequest({ body: { count: 1 } }));
  instanceId = outcome.kind === 'launched' ? (outcome.instances[0]?.instanceId ?? '') : '';
  await until('it runs', () => simulated.region.findInstance(instanceId)?.state === 'running');
});
afterAll(async () => {
  cloud.close();
  restore();
  await simulated.stop();
});

const push = async (id = instanceId): Promise<void> =>
  await cloud.pushLoginKey(REGION, { instanceId: id, user: 'ubuntu', publicKey: KEY });

describe('pushing a key', () => {
  test('brings it to the instance, for its user', async () => {
    await push();
    expect(simulated.region.pushedKeys(instanceId, 'ubuntu')).toEqual([KEY]);
  });

  test('is counted, and tried again when it was throttled', async () => {
    calls.length = 0;
    simulated.region.faults.failNext('SendSSHPublicKey', { code: 'ThrottlingException' });
    await push();
    expect(calls).toEqual(['SendSSHPublicKey', 'SendSSHPublicKey throttled', 'SendSSHPublicKey']);
  });

  test('that is throttled again and again says so', async () => {
    simulated.region.faults.failNext('SendSSHPublicKey', { code: 'RequestLimitExceeded', times: 3 });
    await expect(push()).rejects.toMatchObject({ code: 'AWS_THROTTLED', details: { awsCode: 'ThrottlingException' } });
  });

  test('of which the answer is lost is repeated', async () => {
    simulated.region.faults.loseReply('SendSSHPublicKey');
    await push();
    expect(simulated.region.pushedKeys(instanceId, 'ubuntu')).toEqual([KEY]);
  });

  test.each([
    ['EC2InstanceNotFoundException', 1, 'SSH_UNREACHABLE'],
    ['EC2InstanceStateInvalidException', 1, 'SSH_UNREACHABLE'],
    ['EC2InstanceUnavailableException', 3, 'SSH_UNREACHABLE'],
    ['ServiceException', 3, 'AWS_UNREACHABLE'],
    ['InternalError', 3, 'AWS_UNREACHABLE'],
    ['AuthException', 1, 'AWS_AUTH'],
    ['InvalidArgsException', 1, 'AWS_CONFIG'],
  ] as const)('%s, %i times, is %s', async (code, times, expected) => {
    simulated.region.faults.failNext('SendSSHPublicKey', { code, times });
    await expect(push()).rejects.toMatchObject({
      code: expected,
      message: expect.stringContaining(instanceId) as string,
    });
    await push();
  });

  test('an instance that is not there takes none, and may be there later', async () => {
    await expect(push('i-00000000000000000')).rejects.toMatchObject({ code: 'SSH_UNREACHABLE' });
  });

  test('an instance that is not ours is not for us', async () => {
    simulated.region.tagInstance(instanceId, 'spillway:owner', 'somebody-else');
    await expect(push()).rejects.toMatchObject({ code: 'AWS_AUTH', details: { awsCode: 'AccessDeniedException' } });
    simulated.region.tagInstance(instanceId, 'spillway:owner', 'test');
  });

  test('with a key of AWS that is none is no push', async () => {
    const back = useEndpoint(simulated.endpoint, { ...SIMULATED_ACCESS_KEY, secretAccessKey: 'wrong' });
    const stranger = await createEc2Cloud({ clock: realClock });
    try {
      const attempt = stranger.pushLoginKey(REGION, { instanceId, user: 'ubuntu', publicKey: KEY });
      await expect(attempt).rejects.toMatchObject({
        code: 'AWS_AUTH',
        details: { awsCode: 'UnrecognizedClientException' },
      });
    } finally {
      stranger.close();
      back();
    }
  });
});

describe('the endpoint', () => {
  const ask = async (target: string, body: string): Promise<unknown> => {
    const headers = { 'x-amz-target': target, 'content-type': 'application/x-amz-json-1.1' };
    const response = await fetch(simulated.endpoint, { method: 'POST', headers, body });
    expect(response.headers.get('content-type')).toBe('application/x-amz-json-1.1');
    return { status: response.status, ...((await response.json()) as object) };
  };

  test('says by __type what is wrong, and nothing to whoever did not sign', async () => {
    expect(await ask('AWSEC2InstanceConnectService.SendSSHPublicKey', '{}')).toMatchObject({
      status: 401,
      __type: 'UnrecognizedClientException',
      Message: expect.stringContaining('ec2-instance-connect') as string,
    });
  });
});
