/**
 * Prices of resources that no type undercuts. For y >= 0 with y.capacity <= price for every type, whatever is bought costs at
 * least y.demand: so each such y gives a lower bound, and the best ones are vertices of the set of all of them.
 */
import { keepUnbeaten } from './type-list.ts';
import type { Amount, NodeType } from './types.ts';

/** USD per hour for a milli-core, a MiB and a thousandth of a GPU. */
export type ResourcePrices = readonly [cpu: number, memory: number, gpu: number];

/** y.row <= limit */
interface Plane {
  readonly row: readonly [number, number, number];
  readonly limit: number;
}

/** Relative room for rounding: prices are decimals of cents, capacities whole numbers. */
const SLACK = 1e-9;

/**
 * The vertices that count: no other one is at least as high in every resource. Where no type has GPUs their price is 0,
 * because no task that needs one can run there. Empty when there are no types.
 */
export function priceVertices(types: readonly NodeType[]): readonly ResourcePrices[] {
  const planes = keepUnbeaten(types).map(planeOf);
  if (planes.length === 0) return [];
  const has = (resource: 0 | 1 | 2): boolean => planes.some(({ row }) => row[resource] > 0);
  const walls: Plane[] = [
    { row: [-1, 0, 0], limit: 0 },
    { row: [0, -1, 0], limit: 0 },
    { row: [0, 0, -1], limit: 0 },
  ];
  // Without a GPU anywhere its price would be unbounded: it is fixed at 0 by a wall on the other side.
  if (!has(2)) walls.push({ row: [0, 0, 1], limit: 0 });
  return keepHighest(cornersOf([...planes, ...walls]));
}

/** Vertices in units that keep the three columns near one another: cores, GiB, GPUs. */
function planeOf({ capacity, priceUsdPerHour }: NodeType): Plane {
  const { cpuMilli, memoryMib, gpuMilli } = capacity;
  return { row: [cpuMilli / 1000, memoryMib / 1024, gpuMilli / 1000], limit: priceUsdPerHour };
}

/** Every point where three planes meet and that violates none. */
function cornersOf(planes: readonly Plane[]): ResourcePrices[] {
  const corners: ResourcePrices[] = [];
  for (const [i, a] of planes.entries()) {
    for (const [j, b] of planes.entries()) {
      if (j <= i) continue;
      for (const [k, c] of planes.entries()) {
        if (k <= j) continue;
        const point = meet(a, b, c);
        if (point !== null && planes.every((plane) => isWithin(point, plane))) corners.push(point);
      }
    }
  }
  return corners;
}

function isWithin([x, y, z]: ResourcePrices, { row: [a, b, c], limit }: Plane): boolean {
  return a * x + b * y + c * z <= limit + SLACK * Math.max(1, limit);
}

/** Cramer's rule; null when the planes do not meet in one point. */
function meet(a: Plane, b: Plane, c: Plane): ResourcePrices | null {
  const whole = determinant(a.row, b.row, c.row);
  if (Math.abs(whole) < 1e-9) return null;
  const limits = [a.limit, b.limit, c.limit] as const;
  const rows = [a.row, b.row, c.row] as const;
  const solve = (column: 0 | 1 | 2): number => {
    const [p, q, r] = rows.map((row, at) => row.map((value, index) => (index === column ? limits[at] : value)));
    const value = determinant(p as never, q as never, r as never) / whole;
    return Math.abs(value) < 1e-12 ? 0 : value;
  };
  return [solve(0), solve(1), solve(2)];
}

type Row = readonly [number, number, number];

function determinant([a, b, c]: Row, [d, e, f]: Row, [g, h, i]: Row): number {
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}

function keepHighest(points: readonly ResourcePrices[]): ResourcePrices[] {
  const kept: ResourcePrices[] = [];
  const sorted = [...points].sort((a, b) => b[0] + b[1] + b[2] - (a[0] + a[1] + a[2]));
  for (const [x, y, z] of sorted) {
    const isBelow = kept.some(([p, q, r]) => x <= p + SLACK && y <= q + SLACK && z <= r + SLACK);
    if (!isBelow) kept.push([x, y, z]);
  }
  return kept.map(([cpu, memory, gpu]) => [cpu / 1000, memory / 1024, gpu / 1000]);
}

/** USD of an amount of work, in resource-seconds, at such prices. */
export function valueOf(work: Amount, [cpu, memory, gpu]: ResourcePrices): number {
  return (work.cpuMilli * cpu + work.memoryMib * memory + work.gpuMilli * gpu) / 3600;
}
