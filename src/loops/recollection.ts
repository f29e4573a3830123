import {
  agreeWith,
  findForgotten,
  rememberNonces,
  WITNESSED_REGIONS_MAX,
  type Amnesia,
  type AmnesiaFinding,
  type MemoryFacts,
  type Testimony,
} from '../model/amnesia.ts';
import { SECOND_MS } from '../model/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { Witness } from '../ports/witness.ts';
import type { LoopPorts } from './ports.ts';

/** The lease is renewed every few seconds; the file follows less often, which only makes it witness a little less. */
const WRITE_EVERY_MS = 10 * SECOND_MS;

interface RecollectionOptions {
  readonly witness: Witness;
  readonly clock: Clock;
  readonly owner: string;
}

/** This process's memory of the database, kept beside it. */
export class Recollection {
  private readonly witness: Witness;
  private readonly clock: Clock;
  private testimony: Testimony;
  private read = false;
  private writtenAtMs = -Infinity;

  constructor({ witness, clock, owner }: RecollectionOptions) {
    this.witness = witness;
    this.clock = clock;
    this.testimony = { owner, epoch: 0, turns: 0, nonces: [], regions: [], server: null };
  }

  /** What was seen so far. @returns the testimony of an earlier process the first time, if it is about this installation */
  async recall(): Promise<Testimony> {
    if (this.read) return this.testimony;
    const earlier = await this.witness.read();
    if (earlier?.owner === this.testimony.owner) this.testimony = earlier;
    this.read = true;
    return this.testimony;
  }

  /** Takes over what the database said when it was asked about a testimony; what was noted in the meantime stays. */
  async agree(asked: Testimony, facts: MemoryFacts): Promise<void> {
    const since = this.testimony.nonces.filter((nonce) => !asked.nonces.includes(nonce));
    const { regions } = this.testimony;
    const agreed = rememberNonces({ ...agreeWith(asked, facts), regions }, since);
    const isNews = agreed.epoch !== this.testimony.epoch || agreed.nonces.length !== this.testimony.nonces.length;
    this.testimony = agreed;
    if (isNews || this.clock.monotonicMs() - this.writtenAtMs >= WRITE_EVERY_MS) await this.write();
  }

  async noteLaunches(nonces: readonly string[]): Promise<void> {
    this.testimony = rememberNonces(await this.recall(), nonces);
    await this.write();
  }

  /** Where machines are looked for; until rows are rebuilt, also where none is known to be. */
  async noteRegions(regions: readonly string[]): Promise<void> {
    const { regions: before } = await this.recall();
    if (before.join() === regions.join()) return;
    this.testimony = { ...this.testimony, regions: regions.slice(0, WITNESSED_REGIONS_MAX) };
    await this.write();
  }

  private async write(): Promise<void> {
    this.writtenAtMs = this.clock.monotonicMs();
    await this.witness.write(this.testimony);
  }
}

type MemoryPorts = Pick<LoopPorts, 'memory' | 'recollection' | 'log'>;

/**
 * Compares the database with what is remembered of it, before anything is decided on it; tells it when it has forgotten.
 * Returns the amnesia that lasts, if there is one.
 */
export async function checkMemory(ports: MemoryPorts): Promise<Amnesia | null> {
  const testimony = await ports.recollection.recall();
  const facts = await ports.memory.look(testimony.nonces);
  const forgotten = findForgotten(testimony, facts);
  if (forgotten !== null) await declareAmnesia(ports, forgotten);
  await ports.recollection.agree(testimony, facts);
  await ports.memory.expect(facts);
  return forgotten === null ? facts.amnesia : ((await ports.memory.look([])).amnesia ?? null);
}

export async function declareAmnesia(
  ports: Pick<MemoryPorts, 'memory' | 'log'>,
  finding: AmnesiaFinding,
): Promise<void> {
  if (!(await ports.memory.declare(finding))) return;
  ports.log.error(
    { reason: finding.reason, evidence: finding.evidence },
    'the database has lost commits; nothing is launched or ended until its rows are rebuilt from EC2',
  );
}
