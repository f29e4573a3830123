import { setTimeout } from 'node:timers/promises';

/**
 * Waits until `probe` gives something other than false, null or undefined, and returns it. The way to wait in tests:
 * on a condition, with a deadline, never for a span of time.
 */
export async function until<T>(
  what: string,
  probe: () => T | Promise<T>,
  options: { readonly deadlineMs?: number; readonly everyMs?: number } = {},
): Promise<Exclude<T, false | null | undefined>> {
  const deadlineMs = options.deadlineMs ?? 10_000;
  const end = performance.now() + deadlineMs;
  for (;;) {
    const value = await probe();
    if (value !== false && value !== null && value !== undefined) return value as Exclude<T, false | null | undefined>;
    if (performance.now() > end) throw new Error(`waited ${deadlineMs} ms in vain until ${what}`);
    await setTimeout(options.everyMs ?? 10);
  }
}
