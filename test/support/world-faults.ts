import { AppError, type ErrorCode } from '../../src/model/errors.ts';

/** The process dies: no handler of ours may catch this, because nothing of ours runs any more. */
export class InjectedCrash extends Error {
  override readonly name = 'InjectedCrash';
}

export type FaultKind = 'crash' | 'error';
export type FaultMoment = 'before' | 'after';

/** What a port throws when what is behind it cannot be reached. */
const ERROR_OF_PORT: Readonly<Record<string, ErrorCode>> = {
  cloud: 'AWS_UNREACHABLE',
  shell: 'SSH_UNREACHABLE',
  session: 'SSH_UNREACHABLE',
  wake: 'QUEUE_UNREACHABLE',
};

/** Calls that change something outside: after one of them, the same question is asked in another situation. */
const EFFECTS =
  /^(?:machines\.(?:transition|mark|issue|extend)|launches\.(?:begin|finish|fulfil|close|mark)|planning\.commit|cloud\.(?:run|terminate)|session\.)/;

/** Calls that only ask: failing between two effects is failing after the first or before the second, so once is enough. */
const QUESTIONS = /\.(?:read|list|find|describe|is[A-Z]|acquire|databaseNow|record|wakeAfter|clear)/;

/**
 * Counts the calls that leave the process and lets one of them fail, before or after its effect. A call that is repeated
 * while nothing changes (a poll) counts once, a mere question once in all.
 */
export class Injector {
  /** Distinct calls since the last `arm`. */
  calls = 0;
  private readonly seen = new Set<string>();
  private situation = 0;
  /** Where the fault struck, e.g. `cloud.runInstances`; null = not yet. */
  struck: string | null = null;
  private fault: { readonly call: number; readonly kind: FaultKind; readonly moment: FaultMoment } | null = null;

  /** The `call`-th call from now (1 = the next) fails. */
  arm(call: number, kind: FaultKind, moment: FaultMoment): void {
    this.calls = 0;
    this.struck = null;
    this.seen.clear();
    this.fault = { call, kind, moment };
  }

  async around<T>(site: string, effect: () => Promise<T>): Promise<T> {
    const { fault } = this;
    const call = QUESTIONS.test(site) ? site : `${this.situation}|${site}`;
    const isPoll = this.seen.has(call);
    this.seen.add(call);
    if (!isPoll) this.calls += 1;
    if (isPoll || fault === null || fault.call !== this.calls) {
      const result = await effect();
      if (EFFECTS.test(site)) this.situation += 1;
      return result;
    }
    this.fault = null;
    this.struck = site;
    if (fault.moment === 'after') await effect();
    throw fault.kind === 'crash' ? new InjectedCrash(`crash ${fault.moment} ${site}`) : errorAt(site);
  }

  /** The port with every call counted. */
  wrap<P extends object>(name: string, port: P): P {
    return new Proxy(port, {
      get: (target, property, receiver) => {
        const member: unknown = Reflect.get(target, property, receiver);
        if (typeof member !== 'function') return member;
        return async (...parameters: readonly unknown[]): Promise<unknown> =>
          await this.around(`${name}.${String(property)}`, async () => {
            const result: unknown = await Reflect.apply(member, target, parameters);
            return result;
          }).catch((error: unknown) => {
            // EC2's own contract: a launch call whose answer is lost is a value, never an exception.
            if (property === 'runInstances' && error instanceof AppError) {
              return { kind: 'unknown', code: 'TimeoutError', message: error.message };
            }
            throw error;
          });
      },
    });
  }
}

function errorAt(site: string): AppError {
  const code = ERROR_OF_PORT[site.split('.')[0] ?? ''] ?? 'DATABASE_UNREACHABLE';
  return new AppError(code, `injected at ${site}`, { remedy: 'none: it was injected' });
}
