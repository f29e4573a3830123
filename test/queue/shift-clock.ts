/** Sets this process's wall clock ahead, as an administrator or a bad time server would; timers and the monotonic clock stay. */
export function shiftClock(shiftMs: number): void {
  const trueNow = Date.now.bind(Date);
  const now = (): number => trueNow() + shiftMs;
  globalThis.Date = new Proxy(Date, {
    construct: (target, args: unknown[]) => Reflect.construct(target, args.length === 0 ? [now()] : args) as Date,
    get: (target, name) => (name === 'now' ? now : (Reflect.get(target, name) as unknown)),
  });
}
