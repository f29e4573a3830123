/**
 * JSON with the keys of every object in code-unit order: equal values have equal texts, in whatever order their keys were
 * written, or came back from a `jsonb` column, which keeps no order. What is undefined is left out, as everywhere in JSON.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
