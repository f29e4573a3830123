import { terminalSafe } from './terminal-text.ts';

/** `Key  Value` lines, keys padded; what is null is left out. */
export function keyValues(pairs: readonly (readonly [string, string | null])[]): string[] {
  const known = pairs.filter((pair): pair is readonly [string, string] => pair[1] !== null && pair[1] !== '');
  const width = Math.max(0, ...known.map(([key]) => key.length));
  return known.map(([key, value]) => `${key.padEnd(width)}  ${terminalSafe(value)}`);
}
