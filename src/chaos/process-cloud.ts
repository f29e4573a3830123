import { AppError } from '../model/errors.ts';
import { lateBy } from '../model/clock-times.ts';
import type { Clock } from '../ports/clock.ts';
import type { Cloud, RunOutcome } from '../ports/cloud.ts';
import { UNSIGNED } from './region-cloud.ts';
import { type FaultRates, performing, type Proc, type Sim } from './sim.ts';

const LATENCY_MS = 400;

interface CloudOptions {
  readonly proc: Proc;
  readonly clock: Clock;
  readonly rates: FaultRates;
  /** The region, reached at once. */
  readonly cloud: Cloud;
}

/** EC2 from one process: every call travels, and may be lost, late, or the last thing the process did. */
export function createProcessCloud(sim: Sim, { proc, clock, rates, cloud }: CloudOptions): Cloud {
  const call = async <T>(site: string, effect: () => Promise<T>): Promise<T> =>
    await sim.call<T>(proc, {
      site: `cloud.${site}`,
      rates,
      latencyMs: LATENCY_MS,
      perform: performing(effect),
      lost: () => unreachable(site),
    });
  // A process may be stopped at any instruction before a request is signed; the deadline is looked at after that.
  const sign = async (): Promise<unknown> =>
    await sim.call(proc, { site: 'cloud.sign', rates, latencyMs: 0, perform: performing(() => 0), lost: unsignable });
  // EC2's contract: a call of which nothing is heard is a value, never an exception.
  const orUnknown = async <T>(site: string, effect: () => Promise<T>): Promise<T | Unknown> => {
    try {
      return await call(site, effect);
    } catch (error) {
      if (error instanceof AppError) return { kind: 'unknown', code: 'TimeoutError', message: error.message };
      throw error;
    }
  };
  return {
    async runInstances(request): Promise<RunOutcome> {
      await sign();
      if (lateBy(clock, request.signBefore) > 0) return UNSIGNED;
      return await orUnknown('run', async () => await cloud.runInstances(request));
    },
    stopInstance: async (...given) => await orUnknown('stop', async () => await cloud.stopInstance(...given)),
    async startInstance(...given) {
      await sign();
      return await orUnknown('start', async () => await cloud.startInstance(...given));
    },
    listInstances: async (...given) => await call('list', async () => await cloud.listInstances(...given)),
    terminateInstances: async (...given) =>
      await call('terminate', async () => await cloud.terminateInstances(...given)),
    listSpotEnds: async (...given) => await call('spot-ends', async () => await cloud.listSpotEnds(...given)),
    listInterruptions: async (...given) =>
      await call('interruptions', async () => await cloud.listInterruptions(...given)),
    listInstanceTypes: async (...given) => await call('types', async () => await cloud.listInstanceTypes(...given)),
    describeImages: async (...given) => await call('images', async () => await cloud.describeImages(...given)),
    describeSubnets: async (...given) => await call('subnets', async () => await cloud.describeSubnets(...given)),
    listSpotPrices: async (...given) => await call('prices', async () => await cloud.listSpotPrices(...given)),
    pushLoginKey: async (...given) => await call('push-key', async () => await cloud.pushLoginKey(...given)),
    consoleOutput: async (...given) => await call('console', async () => await cloud.consoleOutput(...given)),
  };
}

type Unknown = Extract<RunOutcome, { readonly kind: 'unknown' }>;

function unreachable(site: string): AppError {
  return new AppError('AWS_UNREACHABLE', `no answer to ${site}`, { remedy: 'none: it was injected' });
}

function unsignable(): AppError {
  return new AppError('AWS_AUTH', 'no credentials to sign with', { remedy: 'none: it was injected' });
}
