/** A planted bug: what somebody might write, and the simulation or a test must notice. Texts must fit the source exactly once. */
export interface Mutant {
  readonly name: string;
  /** Number in the list of invariants of docs/guarantees.md. */
  readonly invariant: number;
  readonly edits: readonly [Edit, ...Edit[]];
  /** The test that must notice it, where a few seeds do not: other guards hide it there, or it takes a rare order of events. */
  readonly test?: WitnessTest;
}

/** One test, by how its title begins: what a table of tests puts into a title is cut short. */
export interface WitnessTest {
  readonly file: string;
  readonly title: string;
}

export interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** The text with the bug in it; null when the source has changed under it. */
export function plant(text: string, { find, replace }: Edit): string | null {
  const parts = text.split(find);
  return parts.length === 2 ? parts.join(replace) : null;
}

/** A change of one file under `src/`. */
export const edit = (file: string, find: string, replace: string): Edit => ({ file: `src/${file}`, find, replace });

/** A bug of one edit. */
export const one = (name: string, invariant: number, file: string, find: string, replace: string): Mutant => ({
  name,
  invariant,
  edits: [edit(file, find, replace)],
});

/** That bug, which one test must notice. @param file under `test/`, without its ending */
export const seenBy = (file: string, title: string, mutant: Mutant): Mutant => ({
  ...mutant,
  test: { file: `test/${file}.test.ts`, title },
});
