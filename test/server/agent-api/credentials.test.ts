import { describe, expect, test } from 'vitest';
import { Credentials, hashToken } from '../../../src/server/agent-api/credentials.ts';
import { realClock } from '../../support/clock.ts';
import { MemoryGateway } from './memory-gateway.ts';

const ENROLMENT = hashToken('enrolment');
const TOKEN = hashToken('token');

/** One agent whose credential was good, on a clock that stands. */
async function aKnownAgent() {
  const gateway = new MemoryGateway();
  gateway.enrolments.set(ENROLMENT, null);
  const registration = { name: 'a', bootId: 'b', capacity: { cpuMilli: 1, memoryMib: 1, gpus: 0 }, labels: {} };
  await gateway.register({ enrolmentTokenHash: ENROLMENT, agentTokenHash: TOKEN, registration });
  const time = { nowMs: 0 };
  const credentials = new Credentials(gateway, { ...realClock, monotonicMs: () => time.nowMs });
  const agentId = await credentials.ask(TOKEN);
  return { credentials, agentId, time };
}

describe('a credential that was good', () => {
  test('is remembered for half a minute', async () => {
    const { credentials, agentId, time } = await aKnownAgent();
    time.nowMs = 29_999;
    expect(credentials.remembered(TOKEN)).toBe(agentId);
    time.nowMs = 30_000;
    expect(credentials.remembered(TOKEN)).toBeNull();
  });

  test('is presumed to be good for as long as nobody says otherwise', async () => {
    const { credentials, agentId, time } = await aKnownAgent();
    time.nowMs = 3_600_000;
    expect(credentials.presumed(TOKEN)).toBe(agentId);
    credentials.forget(TOKEN);
    expect(credentials.presumed(TOKEN)).toBeNull();
    expect(credentials.remembered(TOKEN)).toBeNull();
  });

  test('says nothing of another one', async () => {
    const { credentials } = await aKnownAgent();
    expect(credentials.presumed(hashToken('another'))).toBeNull();
  });
});
