import type { Amount } from './types.ts';

/** A place for tasks, local or cloud. */
export interface Place {
  readonly id: number;
  free: Amount;
}

/** Places by free cores, so that the best fit is found without looking at those that are full. */
export class RoomIndex<P extends Place> {
  /** Free milli-cores that occur, ascending. */
  readonly #sizes: number[] = [];
  /** Places by free milli-cores, each list by id. */
  readonly #places = new Map<number, P[]>();

  add(place: P): void {
    const size = place.free.cpuMilli;
    const list = this.#places.get(size);
    if (list === undefined) {
      this.#places.set(size, [place]);
      this.#sizes.splice(firstAtLeast(this.#sizes, size, identity), 0, size);
      return;
    }
    list.splice(firstAtLeast(list, place.id, idOf), 0, place);
  }

  remove(place: P): void {
    const size = place.free.cpuMilli;
    const list = this.#places.get(size) ?? [];
    const at = firstAtLeast(list, place.id, idOf);
    if (list[at] !== place) throw new Error(`bug: place ${place.id} is not in the index`);
    list.splice(at, 1);
    if (list.length > 0) return;
    this.#places.delete(size);
    this.#sizes.splice(firstAtLeast(this.#sizes, size, identity), 1);
  }

  /** The place with the fewest free cores that holds the need; of equal ones the oldest. Null when none does. */
  find(need: Amount): P | null {
    for (let at = firstAtLeast(this.#sizes, need.cpuMilli, identity); at < this.#sizes.length; at += 1) {
      const list = this.#places.get(this.#sizes[at] ?? 0) ?? [];
      for (const place of list) {
        if (place.free.memoryMib >= need.memoryMib && place.free.gpuMilli >= need.gpuMilli) return place;
      }
    }
    return null;
  }
}

const identity = (value: number): number => value;
const idOf = ({ id }: Place): number => id;

/** Index of the first element whose key is at least `key`. */
function firstAtLeast<T>(list: readonly T[], key: number, keyOf: (element: T) => number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const element = list[middle];
    if (element !== undefined && keyOf(element) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
