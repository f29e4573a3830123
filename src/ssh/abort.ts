/** `promise`, or the reason of `signal` if that comes first. The late promise is still listened to, never unhandled. */
export function raceAbort<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    const settle = (): void => signal.removeEventListener('abort', onAbort);
    promise.then(resolve, reject).finally(settle);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** Turns one call in Node's callback style into a promise. */
export function fromCallback<T>(call: (done: (error: Error | null | undefined, value: T) => void) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    call((error, value) => (error ? reject(error) : resolve(value)));
  });
}
