import { describe, expect, test } from 'vitest';
import { isWorkGone } from '../../src/jobs/drain.ts';
import { isInstanceGone } from '../../src/jobs/gone.ts';
import { isAgentLost } from '../../src/jobs/ready.ts';
import type { MachineAgentFacts, MachineRecord } from '../../src/ports/machines.ts';

const NOW = Date.UTC(2026, 6, 20, 12);
const MINUTE = 60_000;

/** A draining machine whose agent acknowledged a minute ago, reported just now, and has nothing to do. */
function record(agent: Partial<MachineAgentFacts> | null, changes: Partial<MachineRecord> = {}): MachineRecord {
  return {
    machine: {
      id: 'mc-000000000001',
      launchId: 'ln-000000000001',
      planId: 'pl-000000000001',
      traceId: '0af7651916cd43dd8448eb211c80319c',
      workload: 'render',
      instanceType: 'c5.large',
      resources: { cpuMilli: 2000, memoryMib: 4096, gpus: 0 },
      zone: 'us-east-1a',
      market: 'on-demand',
      priceUsdPerHour: 0.085,
      revision: 6,
      createdAtMs: NOW - 60 * MINUTE,
      stateSinceMs: NOW - 20 * MINUTE,
      deadlineAtMs: NOW + 10 * MINUTE,
      state: 'draining',
      instanceId: 'i-00000000000000001',
      privateIp: '127.20.0.5',
      agentId: 'ag-000000000001',
      endReason: 'scale-down',
    },
    nowMs: NOW,
    amnesia: false,
    hostKey: null,
    launch: {
      id: 'ln-000000000001',
      nonce: '00',
      state: 'fulfilled',
      body: {} as MachineRecord['launch']['body'],
      createdAtMs: NOW - 60 * MINUTE,
    },
    observed: { state: 'running', atMs: NOW, endCode: null, missingListings: 0 },
    installedAtMs: NOW - 50 * MINUTE,
    drainIrrevocable: false,
    run: { number: 1, launchedAtMs: null, stoppedAtMs: null },
    isProtected: false,
    drainExtensions: 0,
    drainDone: [],
    interruptedAtMs: null,
    terminateAgainAtMs: null,
    agent:
      agent === null
        ? null
        : {
            agentId: 'ag-000000000001',
            lastSeenAtMs: NOW,
            cordoned: true,
            cordonAckedAtMs: NOW - MINUTE,
            runningTasks: 0,
            heldTasks: 0,
            ...agent,
          },
    ...changes,
  };
}

describe('the work of a draining machine is gone', () => {
  test('when the cordon is acknowledged and a later report shows nothing', () => {
    expect(isWorkGone(record({}))).toBe(true);
  });

  test('when the report that acknowledges it shows nothing: from then on work can only shrink', () => {
    expect(isWorkGone(record({ cordonAckedAtMs: NOW, lastSeenAtMs: NOW }))).toBe(true);
  });

  test.each<[string, Partial<MachineAgentFacts> | null]>([
    ['there is no agent to ask', null],
    ['it was never cordoned', { cordoned: false }],
    ['the cordon is not acknowledged', { cordonAckedAtMs: null }],
    ['its last report is older than the acknowledgement', { lastSeenAtMs: NOW - 2 * MINUTE }],
    ['it never reported', { lastSeenAtMs: null }],
    ['it reports a running task', { runningTasks: 1 }],
    ['a task is leased to it by our own table', { heldTasks: 1 }],
  ])('but not while %s', (_why, agent) => {
    expect(isWorkGone(record(agent))).toBe(false);
  });
});

describe('an agent is lost', () => {
  test.each<[string, boolean, Partial<MachineAgentFacts> | null]>([
    ['after fifteen silent minutes', true, { lastSeenAtMs: NOW - 15 * MINUTE }],
    ['when it never said a word for as long', true, { lastSeenAtMs: null }],
    ['when there is none for as long', true, null],
    ['not a moment earlier', false, { lastSeenAtMs: NOW - 15 * MINUTE + 1 }],
    ['never while it holds work', false, { lastSeenAtMs: NOW - 60 * MINUTE, heldTasks: 1 }],
  ])('%s', (_when, lost, agent) => {
    expect(isAgentLost(record(agent))).toBe(lost);
  });

  test('counting from the machine becoming ready, if that is later than its last word', () => {
    const { machine } = record({});
    const ready = { ...machine, stateSinceMs: NOW - MINUTE };
    expect(isAgentLost(record({ lastSeenAtMs: NOW - 60 * MINUTE }, { machine: ready }))).toBe(false);
  });
});

describe('an instance is gone', () => {
  test.each<[string, boolean, Partial<MachineRecord['observed']>]>([
    ['by the word of EC2', true, { state: 'terminated' }],
    ['when three complete listings missed it', true, { missingListings: 3 }],
    ['not when two did', false, { missingListings: 2 }],
    ['not while it starts', false, { state: 'pending' }],
    ['not while it shuts down', false, { state: 'shutting-down' }],
    ['not when it was stopped', false, { state: 'stopped' }],
    ['not when nothing is known', false, { state: null }],
  ])('%s', (_when, gone, observed) => {
    expect(isInstanceGone(record({}, { observed: { ...record({}).observed, ...observed } }))).toBe(gone);
  });

  test('never before it had an instance', () => {
    const { machine } = record({});
    const {
      instanceId: _1,
      privateIp: _2,
      agentId: _3,
      endReason: _4,
      ...common
    } = machine as typeof machine & {
      instanceId: string;
      privateIp: string;
      agentId: string;
      endReason: string;
    };
    const launching = { ...common, state: 'launching' } as MachineRecord['machine'];
    expect(
      isInstanceGone(record(null, { machine: launching, observed: { ...record(null).observed, missingListings: 9 } })),
    ).toBe(false);
  });
});
