/**
 * Goal: every step twice, and once failing at every step. Whatever happens at a transition of a machine's life, the machine still
 * goes its way, nothing of the world is broken meanwhile, and in the end nothing is left.
 * Method: for each transition of the model's table a scenario makes it happen in the world; each is lived once under each fault.
 * The cases are generated from the table, so that a transition that is added there and not here fails.
 */
import { writeFile } from 'node:fs/promises';
import { afterAll, describe, expect, test as plain } from 'vitest';
import type { MachineTransition } from '../../src/model/machine.ts';
import { test } from '../support/database.ts';
import type { Aim, FaultKind, FaultMoment } from '../support/world-faults.ts';
import { hasHappened, runUntilRest } from '../support/world-rows.ts';
import { World, type WorldOptions } from '../support/world.ts';
import {
  coverageOf,
  FAULTS,
  TRANSITION_CASES,
  TRANSITIONS,
  type TransitionCase,
  type TransitionFault,
} from './transition-cases.ts';
import { type Scenario, SCENARIOS } from './transition-scenarios.ts';

/** The longest ways: an agent is given up after 15 minutes, a launch of unknown outcome after ten. */
const HAPPENS_WITHIN_MS = 30 * 60_000;
const LOOK_MS = 2000;
const RESTS_WITHIN_MS = 60 * 60_000;

/** Slower than production wherever a story is only waiting: the cases are many. */
const PATIENT: WorldOptions = {
  everyS: { plan: 40, sweep: 20, ring: 20, assign: 40, recover: 60, account: Infinity, prices: Infinity },
  timings: { bootPollMs: 20_000, joinPollMs: 10_000, drainPollMs: 10_000, terminatePollMs: 10_000 },
  heartbeatS: 15,
  types: ['c5.large'],
};

const TWICE: Readonly<Partial<Record<TransitionFault, WorldOptions>>> = {
  'twice at once': { twins: true },
  'twice in turn': { again: true },
};

const STRIKES: Readonly<
  Partial<
    Record<
      TransitionFault,
      { readonly part: 'effect' | 'record'; readonly kind: FaultKind; readonly moment: FaultMoment }
    >
  >
> = {
  'crash before its effect': { part: 'effect', kind: 'crash', moment: 'before' },
  'crash after its effect': { part: 'effect', kind: 'crash', moment: 'after' },
  'crash after its record': { part: 'record', kind: 'crash', moment: 'after' },
  'error instead of its effect': { part: 'effect', kind: 'error', moment: 'before' },
  'reply of its effect lost': { part: 'effect', kind: 'error', moment: 'after' },
  'reply of its record lost': { part: 'record', kind: 'error', moment: 'after' },
};

function aimAt({ record, effect }: Scenario, fault: TransitionFault): Aim | null {
  const strike = STRIKES[fault];
  if (strike === undefined) return null;
  const { part, kind, moment } = strike;
  if (part === 'record' || effect === null) return { at: record, kind, moment };
  return { at: effect.at, kind, moment, ...(effect.precedes ? {} : { after: record }) };
}

async function expectWholeLives(world: World, transition: MachineTransition): Promise<void> {
  for (const life of await world.history()) {
    const ways = life
      .map((event) => event.split(' ')[0] ?? '')
      .filter((way) => way.split('>')[0] !== way.split('>')[1]);
    expect(ways.filter((way) => !TRANSITIONS.some((legal) => legal === way))).toEqual([]);
    expect(ways.at(0)).toBe('>requested');
    expect(ways.at(-1)).toMatch(/>terminated$/);
  }
  expect(await hasHappened(world, transition)).toBe(true);
}

const passed: TransitionCase[] = [];

describe.each(TRANSITIONS)('%s', (transition) => {
  test.concurrent.for(FAULTS)('%s', { timeout: 60_000 }, async (fault, { pool }) => {
    const scenario = SCENARIOS[transition];
    const world = await World.create(pool, { ...PATIENT, policies: [scenario.policy], ...TWICE[fault] });
    await scenario.reach?.(world);
    const aim = aimAt(scenario, fault);
    if (aim !== null) world.injector.aim(aim);
    await scenario.provoke(world);
    await world.runUntil(
      `${transition} happened`,
      async () => await hasHappened(world, transition),
      HAPPENS_WITHIN_MS,
      LOOK_MS,
    );
    await scenario.calm?.(world);
    await runUntilRest(world, fault, RESTS_WITHIN_MS);
    expect(world.injector.struck).toBe(aim === null ? null : aim.at.site);
    await expectWholeLives(world, transition);
    passed.push({ transition, fault });
  });
});

plain('the scenarios are those of the table, each under each fault', () => {
  expect(Object.keys(SCENARIOS).sort()).toEqual([...TRANSITIONS].sort());
  const coverage = coverageOf(passed);
  expect(coverage).toEqual({
    covered: TRANSITION_CASES.length,
    total: TRANSITIONS.length * FAULTS.length,
    missing: [],
  });
});

afterAll(async () => {
  const file = process.env['SPILLWAY_TRANSITION_COVERAGE'];
  if (file !== undefined) await writeFile(file, `${JSON.stringify(coverageOf(passed), null, 2)}\n`);
});
