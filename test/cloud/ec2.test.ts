/**
 * Goal: the adapter and EC2's protocol mean the same by everything they say to each other.
 * Method: the unmodified SDK against the simulated region, with the project's own IAM policy enforced: a call that the
 * policy does not allow fails here.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createEc2Cloud } from '../../src/cloud/ec2.ts';
import type { Ec2Cloud } from '../../src/cloud/ec2.ts';
import { deriveHostKey } from '../../src/cloud/host-key.ts';
import { makeLaunchToken, verifyLaunchToken } from '../../src/cloud/launch-token.ts';
import { renderUserData } from '../../src/cloud/user-data.ts';
import { clockTimes } from '../../src/model/clock-times.ts';
import { DAY_MS, HOUR_MS } from '../../src/model/time.ts';
import type { CloudInstance, RunOutcome } from '../../src/ports/cloud.ts';
import { startRegion } from '../../src/simulator/start.ts';
import type { RunningRegion } from '../../src/simulator/start.ts';
import { SIMULATED_IMAGES, SIMULATED_SUBNETS } from '../../src/simulator/world.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { targetAt } from '../ssh/ssh-server.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { until } from '../support/wait.ts';
import { REGION, body, profileName, runRequest, useEndpoint } from './builders.ts';

const OWNER = 'test';
const deploymentKey = Buffer.alloc(32, 7);
let simulated: RunningRegion;
let cloud: Ec2Cloud;
let restore: () => void = () => undefined;

beforeAll(async () => {
  simulated = await startRegion({
    owner: OWNER,
    sshPort: 2222,
    pendingMs: 50,
    bootMs: 200,
    terminateMs: 50,
    stopMs: 50,
    throttling: false,
    vcpusMax: 100,
  });
  restore = useEndpoint(simulated.endpoint, simulated.accessKey);
  cloud = await createEc2Cloud({ clock: realClock, timeouts: { connectMs: 2000, requestMs: 2000, callMs: 8000 } });
});
afterAll(async () => {
  cloud.close();
  restore();
  await simulated.stop();
});
afterEach(async () => {
  simulated.region.faults.setCapacity([]);
  const alive = (await list()).filter((instance) => instance.state !== 'terminated');
  await cloud.terminateInstances(
    REGION,
    alive.map((instance) => instance.instanceId),
  );
});

function newToken(attempt = 1): string {
  return makeLaunchToken(deploymentKey, randomIds.hex(16), attempt);
}

async function list(): Promise<readonly CloudInstance[]> {
  const listing = await cloud.listInstances(REGION, OWNER);
  expect(listing.complete).toBe(true);
  return listing.instances;
}

function launchedIds(outcome: RunOutcome): string[] {
  if (outcome.kind !== 'launched') throw new Error(`not launched: ${JSON.stringify(outcome)}`);
  return outcome.instances.map((instance) => instance.instanceId);
}

describe('launching', () => {
  test('gives instances that the listing shows with token, tags, place and market', async () => {
    const token = newToken();
    const startedMs = Date.now();
    const ids = launchedIds(await cloud.runInstances(runRequest({ token })));
    const ours = (await list()).filter((instance) => ids.includes(instance.instanceId));
    expect(ours).toHaveLength(2);
    for (const instance of ours) {
      expect(instance).toMatchObject({
        clientToken: token,
        instanceType: 'c6a.large',
        zone: 'us-east-1a',
        market: 'on-demand',
        tags: body.tags,
        endedAtMs: null,
        endCode: null,
      });
      expect(verifyLaunchToken(deploymentKey, instance.clientToken)).not.toBeNull();
      expect(Math.abs((instance.launchTimeMs ?? 0) - startedMs)).toBeLessThan(10_000);
    }
  });

  test('again with the same token and body gives the same instances and no more', async () => {
    const request = runRequest({ token: newToken() });
    const first = launchedIds(await cloud.runInstances(request));
    const before = simulated.instances().length;
    expect(launchedIds(await cloud.runInstances(request))).toEqual(first);
    expect(simulated.instances().length).toBe(before);
  });

  test('with a lost reply is unknown, and the replay finds what was launched', async () => {
    const request = runRequest({ token: newToken() });
    const before = simulated.instances().length;
    simulated.region.faults.loseReply('RunInstances');
    expect(await cloud.runInstances(request)).toMatchObject({ kind: 'unknown' });
    expect(launchedIds(await cloud.runInstances(request))).toHaveLength(2);
    expect(simulated.instances().length).toBe(before + 2);
  });

  test('that is answered too late is unknown, and the replay finds it', async () => {
    const request = runRequest({ token: newToken() });
    simulated.region.faults.delay('RunInstances', 4000);
    expect(await cloud.runInstances(request)).toMatchObject({ kind: 'unknown', code: 'TimeoutError' });
    expect(launchedIds(await cloud.runInstances(request))).toHaveLength(2);
  });

  test('with the same token and another body is a mismatch', async () => {
    const token = newToken();
    launchedIds(await cloud.runInstances(runRequest({ token })));
    const edited = await cloud.runInstances(runRequest({ token, body: { count: 1 } }));
    expect(edited).toMatchObject({ kind: 'refused', errorClass: 'mismatch' });
  });

  test('with the token of instances that are gone says the attempt has ended', async () => {
    const request = runRequest({ token: newToken() });
    const ids = launchedIds(await cloud.runInstances(request));
    expect(await cloud.terminateInstances(REGION, ids)).toEqual({ kind: 'accepted' });
    await until('they are terminated', async () =>
      (await list()).filter((one) => ids.includes(one.instanceId)).every((one) => one.state === 'terminated'),
    );
    expect(await cloud.runInstances(request)).toMatchObject({ kind: 'refused', errorClass: 'ended' });
  });

  test('on spot is spot, and a profile and a larger volume are taken', async () => {
    const request = runRequest({
      token: newToken(),
      body: { market: 'spot', instanceProfile: profileName, volumeGib: 33, count: 1 },
    });
    const [id] = launchedIds(await cloud.runInstances(request));
    expect((await list()).find((one) => one.instanceId === id)?.market).toBe('spot');
  });

  test('finds out what is refused: capacity, quota, configuration, rights', async () => {
    const classOf = async (changes: Parameters<typeof runRequest>[0]) => {
      const outcome = await cloud.runInstances(runRequest({ token: newToken(), ...changes }));
      return outcome.kind === 'refused' ? outcome.errorClass : outcome.kind;
    };
    expect(await classOf({ body: { imageId: 'ami-00000000000000000' } })).toBe('config');
    expect(await classOf({ body: { subnetId: 'subnet-00000000' } })).not.toBe('launched');
    expect(await classOf({ body: { instanceType: 'c6a.48xlarge', count: 1 } })).toBe('quota');
    expect(await classOf({ body: { tags: { 'spillway:owner': 'somebody-else' } } })).toBe('auth');
    simulated.region.faults.setCapacity([{ instanceType: '*', zone: '*', market: '*', instancesMax: 0 }]);
    expect(await classOf({})).toBe('capacity');
    simulated.region.faults.failNext('RunInstances', { code: 'RequestLimitExceeded' });
    expect(await classOf({})).toBe('throttled');
  });

  test('takes fewer than asked for when EC2 has no more', async () => {
    simulated.region.faults.fulfilPartially(1);
    expect(launchedIds(await cloud.runInstances(runRequest({ token: newToken() })))).toHaveLength(1);
  });
});

describe('terminating', () => {
  test('ends an instance, and the listing says when and why', async () => {
    const ids = launchedIds(await cloud.runInstances(runRequest({ token: newToken() })));
    const startedMs = Date.now();
    expect(await cloud.terminateInstances(REGION, ids)).toEqual({ kind: 'accepted' });
    expect(await cloud.terminateInstances(REGION, ids)).toEqual({ kind: 'accepted' });
    const ended = await until('it is terminated', async () =>
      (await list()).find((one) => one.instanceId === ids[0] && one.state === 'terminated'),
    );
    expect(ended.endCode).toBe('Client.UserInitiatedShutdown');
    expect(Math.abs((ended.endedAtMs ?? 0) - startedMs)).toBeLessThan(10_000);
  });

  test('with an id EC2 does not know ends none and names it', async () => {
    const ids = launchedIds(await cloud.runInstances(runRequest({ token: newToken() })));
    const missing = 'i-00000000000000000';
    expect(await cloud.terminateInstances(REGION, [...ids, missing])).toEqual({
      kind: 'not-found',
      instanceIds: [missing],
    });
    const states = (await list()).filter((one) => ids.includes(one.instanceId)).map((one) => one.state);
    expect(states.every((state) => state === 'pending' || state === 'running')).toBe(true);
  });
});

describe('stopping and starting', () => {
  const inTime = () => clockTimes(realClock, 10_000);
  const untilState = async (id: string, state: CloudInstance['state']): Promise<CloudInstance> =>
    await until(`it is ${state}`, async () =>
      (await list()).find((one) => one.instanceId === id && one.state === state),
    );

  test('takes an instance there and back, is safe to repeat, and each start has a time of its own', async () => {
    const [id = ''] = launchedIds(await cloud.runInstances(runRequest({ token: newToken() })));
    expect(await cloud.stopInstance(REGION, id)).toEqual({ kind: 'busy' });
    const running = await untilState(id, 'running');
    expect(await cloud.stopInstance(REGION, id)).toEqual({ kind: 'accepted' });
    const stopped = await untilState(id, 'stopped');
    expect(await cloud.stopInstance(REGION, id)).toEqual({ kind: 'accepted' });
    expect(Math.abs((stopped.endedAtMs ?? 0) - Date.now())).toBeLessThan(10_000);
    expect(await cloud.startInstance(REGION, id, inTime())).toEqual({ kind: 'accepted' });
    expect(await cloud.startInstance(REGION, id, inTime())).toEqual({ kind: 'accepted' });
    const again = await untilState(id, 'running');
    expect(again.privateIp).toBe(running.privateIp);
    expect(again.launchTimeMs).toBeGreaterThanOrEqual(running.launchTimeMs ?? Infinity);
  });

  test('tells what is refused, what is not known and what was too late to be sent', async () => {
    const [id = ''] = launchedIds(await cloud.runInstances(runRequest({ token: newToken() })));
    await untilState(id, 'running');
    await cloud.stopInstance(REGION, id);
    await untilState(id, 'stopped');
    simulated.region.faults.setCapacity([{ instanceType: '*', zone: '*', market: '*', instancesMax: 0 }]);
    expect(await cloud.startInstance(REGION, id, inTime())).toMatchObject({
      kind: 'refused',
      errorClass: 'capacity',
      code: 'InsufficientInstanceCapacity',
    });
    expect(await cloud.startInstance(REGION, id, clockTimes(realClock, -1))).toMatchObject({ kind: 'unknown' });
    expect(await cloud.stopInstance(REGION, 'i-00000000000000000')).toEqual({ kind: 'not-found' });
    simulated.region.faults.failNext('StopInstances', { code: 'InternalError' });
    expect(await cloud.stopInstance(REGION, id)).toMatchObject({ kind: 'unknown' });
  });

  test('does not stop a spot instance', async () => {
    const request = runRequest({ token: newToken(), body: { market: 'spot' } });
    const [id = ''] = launchedIds(await cloud.runInstances(request));
    await untilState(id, 'running');
    expect(await cloud.stopInstance(REGION, id)).toMatchObject({ kind: 'refused', code: 'UnsupportedOperation' });
  });
});

describe('interruptions', () => {
  test('are those of our spot instances that EC2 has marked, with the end of their notice', async () => {
    const spot = { market: 'spot' as const };
    const [marked = ''] = launchedIds(await cloud.runInstances(runRequest({ token: newToken(), body: spot })));
    await cloud.runInstances(runRequest({ token: newToken(), body: spot }));
    expect(await cloud.listInterruptions(REGION, OWNER)).toEqual(new Map());
    simulated.region.interrupt(marked);
    const endsAtMs = simulated.region.interruptedAtMs(marked) ?? 0;
    const told = await cloud.listInterruptions(REGION, OWNER);
    expect([...told.keys()]).toEqual([marked]);
    // The wire has whole seconds or milliseconds.
    expect(Math.abs((told.get(marked) ?? 0) - endsAtMs)).toBeLessThan(1000);
    expect(await cloud.listInterruptions(REGION, 'somebody-else')).toEqual(new Map());
  });
});

describe('facts', () => {
  test('every type comes with its hardware, over several pages', async () => {
    const types = await cloud.listInstanceTypes(REGION);
    expect(types.length).toBeGreaterThan(100);
    expect(new Set(types.map((type) => type.name)).size).toBe(types.length);
    expect(types.find((type) => type.name === 'c6a.large')).toEqual({
      name: 'c6a.large',
      family: 'c6a',
      resources: { cpuMilli: 2000, memoryMib: 4096, gpus: 0 },
      architecture: 'x86_64',
      burstable: false,
    });
    expect(types.some((type) => type.architecture === 'arm64')).toBe(true);
    expect(types.filter((type) => type.name.startsWith('t3.')).every((type) => type.burstable)).toBe(true);
    expect(types.some((type) => type.resources.gpus > 0)).toBe(true);
  });

  test('subnets come with their zone and room; one that does not exist is AWS_CONFIG', async () => {
    const subnets = await cloud.describeSubnets(REGION, Object.values(SIMULATED_SUBNETS));
    expect(subnets.map((subnet) => subnet.zone).sort()).toEqual(['us-east-1a', 'us-east-1b']);
    expect(subnets.every((subnet) => subnet.freeAddresses > 0)).toBe(true);
    expect(await cloud.describeSubnets(REGION, [])).toEqual([]);
    await expect(cloud.describeSubnets(REGION, ['subnet-00000000'])).rejects.toMatchObject({ code: 'AWS_CONFIG' });
  });

  test('images come with their root device; one that does not exist is AWS_CONFIG', async () => {
    expect(await cloud.describeImages(REGION, [SIMULATED_IMAGES.arm64, SIMULATED_IMAGES.x86_64])).toEqual([
      { imageId: SIMULATED_IMAGES.arm64, architecture: 'arm64', rootDeviceName: '/dev/sda1', rootVolumeGib: 8 },
      { imageId: SIMULATED_IMAGES.x86_64, architecture: 'x86_64', rootDeviceName: '/dev/sda1', rootVolumeGib: 8 },
    ]);
    await expect(cloud.describeImages(REGION, ['ami-00000000000000000'])).rejects.toMatchObject({ code: 'AWS_CONFIG' });
  });

  test('spot prices cover the whole span, the price in force at its start included', async () => {
    const sinceMs = Date.now() - DAY_MS;
    const prices = await cloud.listSpotPrices(REGION, ['c6a.large', 'm6i.xlarge'], sinceMs);
    for (const instanceType of ['c6a.large', 'm6i.xlarge']) {
      for (const zone of ['us-east-1a', 'us-east-1b']) {
        const own = prices.filter((price) => price.instanceType === instanceType && price.zone === zone);
        expect(Math.min(...own.map((price) => price.atMs))).toBeLessThanOrEqual(sinceMs);
        expect(own.every((price) => price.priceUsdPerHour > 0 && price.priceUsdPerHour < 1)).toBe(true);
      }
    }
    expect(await cloud.listSpotPrices(REGION, [], sinceMs)).toEqual([]);
  });

  test('more than EC2 remembers is asked for as far as it does', async () => {
    const prices = await cloud.listSpotPrices(REGION, ['c6a.large'], 0);
    expect(Math.min(...prices.map((price) => price.atMs))).toBeGreaterThan(Date.now() - 91 * DAY_MS - HOUR_MS);
    expect(prices.length).toBeGreaterThan(100);
  });

  test('wrong credentials are AWS_AUTH with a remedy', async () => {
    const back = useEndpoint(simulated.endpoint, { accessKeyId: 'AKIANOBODY', secretAccessKey: 'x' });
    const stranger = await createEc2Cloud({ clock: realClock });
    const listing = stranger.listInstances(REGION, OWNER);
    await expect(listing.finally(back)).rejects.toMatchObject({
      code: 'AWS_AUTH',
      remedy: expect.stringContaining('aws sts get-caller-identity'),
    });
    stranger.close();
  });
});

test('a launched machine boots with the injected host key, takes our login, and its console can be read', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-join-'));
  const login = deriveHostKey(deploymentKey, 'login');
  const identityFile = join(folder, 'id');
  writeFileSync(identityFile, login.privateOpenSsh, { mode: 0o600 });
  const nonce = randomIds.hex(16);
  const hostKey = deriveHostKey(deploymentKey, nonce);
  const userData = renderUserData({
    hostKey,
    authorizedKey: login.publicOpenSsh,
    sshUser: 'ubuntu',
  });
  const userDataSha256 = createHash('sha256').update(userData).digest('hex');
  const token = makeLaunchToken(deploymentKey, nonce, 1);
  const request = runRequest({ token, userData, body: { count: 1, userDataSha256 } });
  try {
    const outcome = await cloud.runInstances(request);
    if (outcome.kind !== 'launched') throw new Error(JSON.stringify(outcome));
    const { instanceId, privateIp: host } = outcome.instances[0]!;
    if (host === null) throw new Error('the region gives addresses at once');
    const shell = createShell();
    const place = { host, port: simulated.sshPort, user: 'ubuntu', identityFile };
    const target = targetAt({ ...place, hostKey: hostKey.publicOpenSsh });
    await until('it listens', () => shell.isOpen(target, 500));
    const output = await shell.withSession(target, 10_000, async (session) => {
      await session.upload([{ path: '.spillway/hello.sh', content: 'echo "hello from $1"\n', mode: 0o700 }]);
      await session.upload([{ path: '.spillway/hello.sh', content: 'echo "hello again from $1"\n', mode: 0o700 }]);
      return session.runScript('sh .spillway/hello.sh here; cat; exit 4', { deadlineMs: 5000 });
    });
    expect(output).toMatchObject({ exitCode: 4, output: 'hello again from here\n' });
    const wrong = targetAt({ ...place, hostKey: deriveHostKey(deploymentKey, randomIds.hex(16)).publicOpenSsh });
    await expect(shell.withSession(wrong, 5000, () => Promise.resolve())).rejects.toMatchObject({
      code: 'SSH_HOST_KEY',
    });
    const text = await until('the console has text', () => cloud.consoleOutput(REGION, instanceId));
    expect(text).toContain(hostKey.publicOpenSsh);
    expect(await cloud.consoleOutput(REGION, 'i-00000000000000000')).toBeNull();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
