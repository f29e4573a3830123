import { expect, it } from 'vitest';
import type { World } from './fixtures.ts';
import { codes, plan, short } from './fixtures.ts';

export interface Row {
  readonly says: string;
  readonly world: World;
  readonly actions: readonly string[];
  /** The deciding reason. */
  readonly because: string;
}

/** One test per row. */
export function check(rows: readonly Row[]): void {
  it.each(rows)('$says', ({ world, actions, because }) => {
    const result = plan(world);
    expect(short(result.actions)).toEqual(actions);
    expect(codes(result)[0]).toBe(because);
  });
}
