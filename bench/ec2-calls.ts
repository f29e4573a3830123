/** How many calls to EC2 a fleet costs per minute, and how that grows: counted by the region itself, on a virtual clock. */
import { measureEnding, measureStanding, sumOf, type FleetCalls } from '../test/support/fleet.ts';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { openBenchDatabase } from './support/database.ts';

/** A region lists 1,000 instances on a page. */
const FLEETS = [10, 100, 2500] as const;

export const ec2Calls: Bench = {
  name: 'ec2-calls',
  about: 'calls to EC2 per minute by fleets of 10, 100 and 2,500 machines that stand, and that end all at once',
  async run(context) {
    const figures: Figure[] = [];
    for (const machines of FLEETS) {
      figures.push(figureOf(`standing-${machines}`, await measureOne(context, 'stands', machines)));
      figures.push(figureOf(`ending-${machines}`, await measureOne(context, 'ends at once', machines)));
    }
    return figures;
  },
};

/** Every fleet on a database of its own: the world replaces the database's clock. */
async function measureOne(
  { signal, progress }: BenchContext,
  what: 'stands' | 'ends at once',
  machines: number,
): Promise<FleetCalls> {
  signal.throwIfAborted();
  progress(`a fleet of ${machines} ${what}`);
  const database = await openBenchDatabase();
  try {
    return await (what === 'stands' ? measureStanding : measureEnding)(database.pool, machines);
  } finally {
    await database.stop();
  }
}

function figureOf(name: string, { minutes, throttled }: FleetCalls): Figure {
  const busiest = minutes.toSorted((a, b) => sumOf(b) - sumOf(a))[0] ?? {};
  const calls = Object.entries(busiest).map(([action, count]) => `${count} ${action}`);
  const detail = `the busiest of ${minutes.length} minutes: ${calls.join(', ')}; the region throttled ${throttled}`;
  return makeFigure('ec2-calls', name, sumOf(busiest), 'calls/min', detail);
}
