import { CALL_RATES } from './scenario.ts';
import type { Proc, Sim } from './sim.ts';

/**
 * A store before some of whose methods a process may stop for long, or end: everything is decided then and nothing is written yet.
 * A statement is too late for that, because a transaction that stands still is ended by the server.
 */
export function withDecisionPoints<T extends object>(
  sim: Sim,
  proc: Proc,
  {
    name,
    store,
    methods,
  }: { readonly name: string; readonly store: T; readonly methods: readonly (keyof T & string)[] },
): T {
  const decisive = new Set<string | symbol>(methods);
  return new Proxy(store, {
    get(target, property, receiver) {
      const member: unknown = Reflect.get(target, property, receiver);
      if (typeof member !== 'function' || !decisive.has(property)) return member;
      return async (...given: readonly unknown[]): Promise<unknown> => {
        await sim.call<void>(proc, {
          site: `${name}.${String(property)}`,
          rates: CALL_RATES.decision,
          latencyMs: 0,
          perform: (deliver) => deliver({ ok: true, value: undefined }),
          lost: () => new Error('bug: a decision is not lost on its way'),
        });
        return await (Reflect.apply(member, target, given) as Promise<unknown>);
      };
    },
  });
}
