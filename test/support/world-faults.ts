import { AppError, type ErrorCode } from '../../src/model/errors.ts';

/** The process dies: no handler of ours may catch this, because nothing of ours runs any more. */
export class InjectedCrash extends Error {
  override readonly name = 'InjectedCrash';
}

export type FaultKind = 'crash' | 'error';
export type FaultMoment = 'before' | 'after';

/** A call by what it does. */
export interface Target {
  readonly site: string;
  /** By its parameters; default: every call of the site. */
  readonly matches?: (parameters: readonly unknown[]) => boolean;
}

/** One call that is to fail. */
export interface Aim {
  readonly at: Target;
  readonly kind: FaultKind;
  readonly moment: FaultMoment;
  /** Only calls that come after this one went through. */
  readonly after?: Target;
}

/** What a port throws when what is behind it cannot be reached. */
const ERROR_OF_PORT: Readonly<Record<string, ErrorCode>> = {
  cloud: 'AWS_UNREACHABLE',
  shell: 'SSH_UNREACHABLE',
  session: 'SSH_UNREACHABLE',
  wake: 'QUEUE_UNREACHABLE',
};

/** Calls of which the second and third differ from the first: a log-in to join, to run a hook, to say goodbye. */
const COUNTED = /^(?:shell\.withSession|session\.runScript|cloud\.terminateInstances|launches\.read|machines\.read)$/;
const COUNTED_MAX = 3;
const VALUED: ReadonlySet<string | symbol> = new Set(['runInstances', 'startInstance', 'stopInstance']);

/**
 * Sits between the process and everything outside, and lets one call of a life fail, before or after its effect. Calls are told
 * apart by what they are for, never by their number, because one fault shifts every call that follows it.
 */
export class Injector {
  /** Calls that failed once already, by name. */
  readonly covered = new Set<string>();
  /** The call that failed since the last `arm`; null = every call of the life was covered before. */
  struck: string | null = null;
  private fault: { readonly kind: FaultKind; readonly moment: FaultMoment; readonly among: RegExp } | null = null;
  private aimed: Aim | null = null;
  private readonly counts = new Map<string, number>();
  /** The process crashed: nothing it still tries reaches anything, until another one stands in its place. */
  private dead = false;

  /** From now on the first call that never failed before fails; only of those `among`, if that is named. */
  arm(kind: FaultKind, moment: FaultMoment, among = /./): void {
    this.struck = null;
    this.counts.clear();
    this.fault = { kind, moment, among };
  }

  /** A new process stands where the crashed one did. */
  revive(): void {
    this.dead = false;
  }

  /** From now on the first call that is described so fails, once. */
  aim(aim: Aim): void {
    this.struck = null;
    this.aimed = aim;
  }

  async around<T>(site: string, effect: () => Promise<T>, parameters: readonly unknown[] = []): Promise<T> {
    if (this.dead) throw new InjectedCrash(`${site} after the crash`);
    if (this.aimed !== null) return await this.aroundAim(this.aimed, site, effect, parameters);
    const { fault } = this;
    const call = this.nameCall(site, parameters);
    const isDue = fault !== null && call !== null && fault.among.test(call) && !this.covered.has(call);
    if (!isDue) return await effect();
    this.fault = null;
    this.covered.add(call);
    return await this.strike(call, site, fault, effect);
  }

  /** The port with every call watched. */
  wrap<P extends object>(name: string, port: P): P {
    return new Proxy(port, {
      get: (target, property, receiver) => {
        const member: unknown = Reflect.get(target, property, receiver);
        if (typeof member !== 'function') return member;
        return async (...parameters: readonly unknown[]): Promise<unknown> => {
          try {
            const effect = async (): Promise<unknown> => (await Reflect.apply(member, target, parameters)) as unknown;
            return await this.around(`${name}.${String(property)}`, effect, parameters);
          } catch (error) {
            // EC2's own contract: a call to launch, start or stop whose answer is lost is a value, never an exception.
            if (!VALUED.has(property) || !(error instanceof AppError)) throw error;
            return { kind: 'unknown', code: 'TimeoutError', message: error.message };
          }
        };
      },
    });
  }

  private async aroundAim<T>(
    aim: Aim,
    site: string,
    effect: () => Promise<T>,
    parameters: readonly unknown[],
  ): Promise<T> {
    if (aim.after !== undefined) {
      const result = await effect();
      const { after, ...rest } = aim;
      if (this.aimed === aim && isAt(after, site, parameters)) this.aimed = rest;
      return result;
    }
    if (!isAt(aim.at, site, parameters)) return await effect();
    this.aimed = null;
    return await this.strike(site, site, aim, effect);
  }

  private async strike<T>(
    call: string,
    site: string,
    { kind, moment }: Pick<Aim, 'kind' | 'moment'>,
    effect: () => Promise<T>,
  ): Promise<never> {
    this.struck = call;
    if (moment === 'after') await effect();
    this.dead = kind === 'crash';
    throw this.dead ? new InjectedCrash(`crash ${moment} ${call}`) : errorAt(site);
  }

  private nameCall(site: string, parameters: readonly unknown[]): string | null {
    const purpose = purposeOf(site, parameters);
    if (purpose !== null) return `${site}(${purpose})`;
    if (!COUNTED.test(site)) return site;
    const count = (this.counts.get(site) ?? 0) + 1;
    this.counts.set(site, count);
    return count > COUNTED_MAX ? null : `${site}#${count}`;
  }
}

function isAt({ site, matches = () => true }: Target, called: string, parameters: readonly unknown[]): boolean {
  return site === called && matches(parameters);
}

function purposeOf(site: string, [first, second]: readonly unknown[]): string | null {
  if (site === 'machines.transition') return (second as { readonly to: string }).to;
  if (site === 'wake.ring') {
    const kinds = new Set((first as readonly { readonly kind: string }[]).map(({ kind }) => kind));
    return [...kinds].sort((a, b) => (a < b ? -1 : 1)).join(' and ');
  }
  if (site !== 'planning.commit') return null;
  const names = ['launches', 'drains', 'undrains', 'starts', 'retires'] as const;
  const commit = first as Readonly<Record<(typeof names)[number], readonly unknown[]>>;
  const acts = names.filter((act) => commit[act].length > 0);
  return acts.length === 0 ? 'nothing' : acts.join(' and ');
}

function errorAt(site: string): AppError {
  const code = ERROR_OF_PORT[site.split('.')[0] ?? ''] ?? 'DATABASE_UNREACHABLE';
  return new AppError(code, `injected at ${site}`, { remedy: 'none: it was injected' });
}
