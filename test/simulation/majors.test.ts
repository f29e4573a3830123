/**
 * Goal: a seed means the same everywhere. Method: the same seeds on the Postgres of the package and on another major version,
 * and once more beside processes that take the cores away. What differs, if anything does, is an order that SQL leaves open, or
 * a choice that the machine's own time made.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type CampaignOptions, runCampaign } from '../../src/chaos/campaign.ts';
import { findRunner } from '../../src/store/embedded-runner.ts';
import { findOtherPostgres, startOtherPostgres } from '../support/other-postgres.ts';

const LIMIT_MS = 240_000;
/** Short ones, the first with several statements that wait for one lock. */
const SEEDS = { first: 7, last: 8 };
const own = await findRunner();
const other = findOtherPostgres(own.majorVersion);
const cleanUps: (() => Promise<void>)[] = [];
let wanted: Digests;

type Digests = Readonly<Record<number, string>>;

beforeAll(async () => {
  wanted = await digestsOf(SEEDS);
}, LIMIT_MS);

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

async function digestsOf(seeds: CampaignOptions['seeds'], adminUrls: readonly string[] = []): Promise<Digests> {
  const digests: Record<number, string> = {};
  const report = await runCampaign({
    seeds,
    hours: 1,
    only: null,
    shards: 1,
    shrink: false,
    adminUrls,
    onSeed: ({ result }) => (digests[result.seed] = result.digest),
  });
  expect(report.faultsInjected).toBeGreaterThan(20);
  return digests;
}

describe.skipIf(other === null)(`a seed on Postgres ${own.majorVersion} and on Postgres ${other?.major}`, () => {
  test('has one digest', { timeout: LIMIT_MS }, async () => {
    if (other === null) throw new Error('bug: this suite is skipped without another Postgres');
    const server = await startOtherPostgres(other);
    cleanUps.push(() => server.stop());
    expect(await digestsOf(SEEDS, [server.url])).toEqual(wanted);
  });
});

/** On every core, and with less right to it than the simulation has: it is disturbed at any moment, and still gets on. */
const NOISES = 2;
const NICENESS = 5;
/** Ends by itself should nobody end it. */
const NOISE = `os.setPriority(${NICENESS}); const end = performance.now() + 240_000; while (performance.now() < end) Math.sqrt(end);`;

describe('a seed beside processes that are busy on every core', () => {
  test('has the digest that it has without them', { timeout: LIMIT_MS }, async () => {
    const seed = SEEDS.first;
    for (let noise = 0; noise < NOISES; noise += 1) await startNoise();
    expect(await digestsOf({ first: seed, last: seed })).toEqual({ [seed]: wanted[seed] });
  });
});

async function startNoise(): Promise<void> {
  const child = spawn(process.execPath, ['-e', NOISE], { stdio: 'ignore' });
  await once(child, 'spawn');
  cleanUps.push(async () => {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  });
}
