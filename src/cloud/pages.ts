/** One page of an EC2 listing. */
export interface Page<T> {
  readonly items: readonly T[];
  /** EC2 ends with no token, some calls with an empty one. */
  readonly nextToken: string | undefined;
}

export interface PageBounds {
  readonly pagesMax: number;
  /** When to stop asking, by the monotonic clock. */
  readonly deadlineMonotonicMs: number;
  readonly monotonicMs: () => number;
}

export interface PagedItems<T> {
  readonly items: readonly T[];
  /** Null when every page was read; else why not. `repeated`: a page led back to one that was read before. */
  readonly stoppedBy: {
    readonly reason: 'page-bound' | 'deadline' | 'failure' | 'repeated';
    readonly error?: unknown;
  } | null;
}

/**
 * Reads pages until there are no more, a bound is met or a page fails. A failure of the first page is thrown: nothing was
 * learned. Later ones end the listing, and the caller decides what half a listing is worth.
 */
export async function readPages<T>(
  readPage: (nextToken: string | undefined) => Promise<Page<T>>,
  bounds: PageBounds,
): Promise<PagedItems<T>> {
  const items: T[] = [];
  let nextToken: string | undefined;
  const asked = new Set<string>();
  for (let page = 0; page < bounds.pagesMax; page += 1) {
    if (page > 0 && bounds.monotonicMs() > bounds.deadlineMonotonicMs)
      return { items, stoppedBy: { reason: 'deadline' } };
    try {
      const read = await readPage(nextToken);
      for (const item of read.items) items.push(item);
      nextToken = read.nextToken;
    } catch (error) {
      if (page === 0) throw error;
      return { items, stoppedBy: { reason: 'failure', error } };
    }
    if (nextToken === undefined || nextToken === '') return { items, stoppedBy: null };
    if (asked.has(nextToken)) return { items, stoppedBy: { reason: 'repeated' } };
    asked.add(nextToken);
  }
  return { items, stoppedBy: { reason: 'page-bound' } };
}
