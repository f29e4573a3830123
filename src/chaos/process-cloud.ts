import { AppError } from '../model/errors.ts';
import { lateBy } from '../model/clock-times.ts';
import type { Clock } from '../ports/clock.ts';
import type { Cloud, RunOutcome } from '../ports/cloud.ts';
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
  return {
    async runInstances(request): Promise<RunOutcome> {
      // A process may be stopped at any instruction before the request is signed; the deadline is looked at after that.
      await sim.call(proc, { site: 'cloud.sign', rates, latencyMs: 0, perform: performing(() => 0), lost: unsignable });
      if (lateBy(clock, request.signBefore) > 0) {
        return { kind: 'refused', errorClass: 'ended', code: 'SignDeadlinePassed', message: 'too late to be signed' };
      }
      try {
        return await call('run', async () => await cloud.runInstances(request));
      } catch (error) {
        // EC2's contract: a launch call whose answer is lost is a value, never an exception.
        if (error instanceof AppError) return { kind: 'unknown', code: 'TimeoutError', message: error.message };
        throw error;
      }
    },
    listInstances: async (...given) => await call('list', async () => await cloud.listInstances(...given)),
    terminateInstances: async (...given) =>
      await call('terminate', async () => await cloud.terminateInstances(...given)),
    listInstanceTypes: async (...given) => await call('types', async () => await cloud.listInstanceTypes(...given)),
    describeImages: async (...given) => await call('images', async () => await cloud.describeImages(...given)),
    describeSubnets: async (...given) => await call('subnets', async () => await cloud.describeSubnets(...given)),
    listSpotPrices: async (...given) => await call('prices', async () => await cloud.listSpotPrices(...given)),
    consoleOutput: async (...given) => await call('console', async () => await cloud.consoleOutput(...given)),
  };
}

function unreachable(site: string): AppError {
  return new AppError('AWS_UNREACHABLE', `no answer to ${site}`, { remedy: 'none: it was injected' });
}

function unsignable(): AppError {
  return new AppError('AWS_AUTH', 'no credentials to sign with', { remedy: 'none: it was injected' });
}
