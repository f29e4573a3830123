import { raceAbort } from './abort.ts';

export interface TurnLimits {
  readonly allMax: number;
  readonly perKeyMax: number;
}

export interface Turns {
  /** Waits until there is room, first come first served among those that have room; ends with the signal's reason. */
  take(key: string, signal: AbortSignal): Promise<Disposable>;
}

interface Waiting {
  readonly key: string;
  readonly go: () => void;
}

/** So many at a time in all, and so many of one key. */
export function createTurns({ allMax, perKeyMax }: TurnLimits): Turns {
  const taken = new Map<string, number>();
  const waiting: Waiting[] = [];
  let all = 0;

  const hasRoom = (key: string): boolean => all < allMax && (taken.get(key) ?? 0) < perKeyMax;
  const count = (key: string, change: 1 | -1): void => {
    const now = (taken.get(key) ?? 0) + change;
    all += change;
    if (now === 0) taken.delete(key);
    else taken.set(key, now);
  };
  const wake = (): void => {
    const index = waiting.findIndex(({ key }) => hasRoom(key));
    const [next] = index === -1 ? [] : waiting.splice(index, 1);
    if (next === undefined) return;
    count(next.key, 1);
    next.go();
  };
  const release = (key: string): Disposable => ({
    [Symbol.dispose]: () => {
      count(key, -1);
      wake();
    },
  });

  return {
    take: async (key, signal) => {
      if (hasRoom(key)) {
        count(key, 1);
        return release(key);
      }
      const gate = Promise.withResolvers<void>();
      const mine: Waiting = { key, go: () => gate.resolve() };
      waiting.push(mine);
      try {
        await raceAbort(signal, gate.promise);
        return release(key);
      } catch (error) {
        const index = waiting.indexOf(mine);
        // Called up in the same moment: the turn goes on to the next one.
        if (index === -1) release(key)[Symbol.dispose]();
        else waiting.splice(index, 1);
        throw error;
      }
    },
  };
}
