import { AsyncLocalStorage } from 'node:async_hooks';
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import timers from 'node:timers';

/** Set while code of the product runs inside the simulation; it follows that code through every await. */
const inside = new AsyncLocalStorage<true>();

/** Runs code of the product: from here on it may reach time and randomness through its ports alone. */
export function runInside<T>(work: () => T): T {
  return inside.run(true, work);
}

/** Runs what the simulation does for the product: real I/O, whose driver may look at real clocks. */
export function runOutside<T>(work: () => T): T {
  return inside.exit(work);
}

type Callable = (...parameters: never[]) => unknown;

/** Every way to the machine's own time and chance that Node offers to plain code. */
const FORBIDDEN: readonly { readonly owner: object; readonly names: readonly string[] }[] = [
  { owner: Date, names: ['now'] },
  { owner: Math, names: ['random'] },
  { owner: performance, names: ['now'] },
  { owner: process, names: ['hrtime', 'uptime'] },
  { owner: globalThis, names: ['setTimeout', 'setInterval', 'setImmediate'] },
  { owner: timers, names: ['setTimeout', 'setInterval', 'setImmediate'] },
  { owner: crypto, names: ['randomBytes', 'randomUUID', 'randomInt', 'randomFillSync'] },
  { owner: AbortSignal, names: ['timeout'] },
];

let stretched: readonly (() => void)[] = [];

/**
 * Makes time, timers and randomness throw for code inside. What it catches is a bug of the product: something of it would
 * not be simulated. Undone by the returned function; a second call while it stands changes nothing.
 */
export function stretchTripwire(): () => void {
  if (stretched.length > 0) return () => undefined;
  stretched = [guardDate(), ...FORBIDDEN.flatMap(({ owner, names }) => names.map((name) => guard(owner, name)))];
  syncBuiltinESMExports();
  return () => {
    for (const restore of stretched) restore();
    stretched = [];
    syncBuiltinESMExports();
  };
}

function guard(owner: object, name: string): () => void {
  const original = Reflect.get(owner, name) as Callable;
  const guarded = function guarded(this: unknown, ...parameters: never[]): unknown {
    refuse(name);
    return Reflect.apply(original, this, parameters);
  };
  Object.defineProperties(guarded, Object.getOwnPropertyDescriptors(original));
  Reflect.set(owner, name, guarded);
  return () => void Reflect.set(owner, name, original);
}

/** `new Date()` reads the clock, `new Date(ms)` does not. */
function guardDate(): () => void {
  const original = globalThis.Date;
  globalThis.Date = new Proxy(original, {
    construct(target, parameters, newTarget) {
      if (parameters.length === 0) refuse('new Date()');
      return Reflect.construct(target, parameters, newTarget) as object;
    },
    // Called as a function it looks at nothing that it is given.
    apply(target) {
      refuse('Date()');
      return target();
    },
  });
  return () => {
    globalThis.Date = original;
  };
}

function refuse(what: string): void {
  if (inside.getStore() === true) throw new Error(`bug: ${what} was used inside the simulation; take it from a port`);
}
