import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { type Kill, MUTANTS, plant } from './mutants.ts';

const ROOT = new URL('../../', import.meta.url);
const PROMISES = Array.from({ length: 14 }, (_unused, index) => index + 1);
const kills = JSON.parse(await readFile(new URL('killed.json', import.meta.url), 'utf8')) as Record<string, Kill>;

const read = async (file: string): Promise<string> => await readFile(new URL(file, ROOT), 'utf8');

describe('the planted bugs', () => {
  test('each have a name of their own, and somebody who noticed them', () => {
    const names = MUTANTS.map(({ name }) => name).sort();
    expect(new Set(names).size).toBe(names.length);
    expect(Object.keys(kills).sort()).toEqual(names);
  });

  test('are noticed by a test exactly where they name one', () => {
    const named = MUTANTS.flatMap(({ name, test: witness }) => (witness === undefined ? [] : [[name, witness.file]]));
    const noticed = Object.entries(kills).flatMap(([name, { seed, rule }]) => (seed === null ? [[name, rule]] : []));
    expect(new Map(noticed as [string, string][])).toEqual(new Map(named as [string, string][]));
  });

  test.each(PROMISES)('break promise %i at least once', (promise) => {
    expect(MUTANTS.filter(({ invariant }) => invariant === promise)).not.toEqual([]);
  });

  test.each(MUTANTS)('fit the source: $name', async ({ edits }) => {
    for (const edit of edits) expect(plant(await read(edit.file), edit)).not.toBeNull();
  });
});
