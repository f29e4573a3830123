import { translateDatabaseError } from '../store/pool.ts';

/**
 * A store whose methods throw `AppError`s instead of what the driver throws. One wrapper at the composition root instead
 * of a try in every method; what is no database failure passes through unchanged.
 */
export function translatingErrors<T extends object>(store: T): T {
  return new Proxy(store, {
    get(target, property, receiver) {
      const member: unknown = Reflect.get(target, property, receiver);
      if (typeof member !== 'function') return member;
      return async (...parameters: readonly unknown[]): Promise<unknown> => {
        try {
          return await (Reflect.apply(member, target, parameters) as Promise<unknown>);
        } catch (error) {
          throw translateDatabaseError(error);
        }
      };
    },
  });
}
