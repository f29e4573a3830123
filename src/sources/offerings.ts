import { withLicense } from '../cost/license.ts';
import { AppError } from '../model/errors.ts';
import type { InstanceType, Offering } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { HOUR_MS, MINUTE_MS } from '../model/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { Cloud, ImageFacts, SpotPrice, SubnetFacts } from '../ports/cloud.ts';
import type { Log } from '../ports/log.ts';
import type { OfferingSource } from '../ports/offerings.ts';

export interface OfferingSourceOptions {
  readonly cloud: Cloud;
  readonly clock: Clock;
  readonly log: Log;
  /** On-demand Linux price of a type in USD per hour; null = not in the price table, so never offered. */
  readonly listPriceUsdPerHour: (instanceType: string) => number | null;
  readonly latestSpotPrices: () => Promise<readonly SpotPrice[]>;
}

/** Types appear a few times a year, free addresses and prices move all the time. */
const TYPES_AGE_MS = HOUR_MS;
const SUBNETS_AGE_MS = MINUTE_MS;
const SPOT_AGE_MS = MINUTE_MS;

/** What EC2 offers for each policy, remembered for a while; what cannot be refreshed goes on being used until it can. */
export function createOfferingSource(options: OfferingSourceOptions): OfferingSource {
  const { cloud } = options;
  const types = remembering<readonly InstanceType[]>(options, TYPES_AGE_MS);
  const subnets = remembering<readonly SubnetFacts[]>(options, SUBNETS_AGE_MS);
  const spot = remembering<ReadonlyMap<string, number>>(options, SPOT_AGE_MS);

  return {
    async list(policy) {
      const { region, subnets: subnetIds, image } = policy.burst;
      try {
        requirePlatform(policy, await cloud.describeImages(region, Object.values(image)));
        return buildOfferings(policy, {
          types: await types(region, async () => await cloud.listInstanceTypes(region)),
          subnets: await subnets(subnetIds.join(), async () => await cloud.describeSubnets(region, subnetIds)),
          spotPrices: await spot('all', async () => indexPrices(await options.latestSpotPrices())),
          listPriceUsdPerHour: options.listPriceUsdPerHour,
        });
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        options.log.warn(
          { workload: policy.name, code: error.code, error: error.message },
          'offerings are not known; nothing is launched',
        );
        return null;
      }
    },

    async image(region, imageId) {
      const [facts] = await cloud.describeImages(region, [imageId]);
      if (facts === undefined) throw new Error(`bug: EC2 answered without image ${imageId} and without an error`);
      return facts;
    },
  };
}

interface OfferingFacts {
  readonly types: readonly InstanceType[];
  readonly subnets: readonly SubnetFacts[];
  readonly spotPrices: ReadonlyMap<string, number>;
  readonly listPriceUsdPerHour: (instanceType: string) => number | null;
}

function buildOfferings(policy: WorkloadPolicy, facts: OfferingFacts): readonly Offering[] {
  const offerings: Offering[] = [];
  for (const instanceType of facts.types) {
    if (policy.burst.image[instanceType.architecture] === undefined) continue;
    const listPrice = withLicense(facts.listPriceUsdPerHour(instanceType.name), instanceType, policy);
    for (const { subnetId, zone, freeAddresses } of facts.subnets) {
      if (freeAddresses === 0) continue;
      const place = { instanceType, zone, subnetId };
      if (listPrice !== null) offerings.push({ ...place, market: 'on-demand', priceUsdPerHour: listPrice });
      const spotPrice = policy.burst.market.spot > 0 ? facts.spotPrices.get(`${instanceType.name}/${zone}`) : undefined;
      if (spotPrice !== undefined) offerings.push({ ...place, market: 'spot', priceUsdPerHour: spotPrice });
    }
  }
  return offerings;
}

/** Windows costs more than the price list says, and is spoken to in another shell: neither may be found out after the launch. */
function requirePlatform({ join }: WorkloadPolicy, images: readonly ImageFacts[]): void {
  const wanted = join.recipe.shell === 'powershell' ? 'windows' : undefined;
  const wrong = images.find(({ platform }) => platform !== wanted);
  if (wrong === undefined) return;
  const [is, fix] =
    wanted === undefined
      ? ['runs Windows', 'write `shell: powershell` into join.recipe, with what goes with it']
      : ['does not run Windows', 'leave `shell: powershell` out of join.recipe'];
  throw new AppError('AWS_CONFIG', `The image ${wrong.imageId} ${is}.`, { remedy: `Name another image, or ${fix}.` });
}

function indexPrices(prices: readonly SpotPrice[]): ReadonlyMap<string, number> {
  return new Map(prices.map(({ instanceType, zone, priceUsdPerHour }) => [`${instanceType}/${zone}`, priceUsdPerHour]));
}

/** Values by key that are read again when they are old; a read that fails falls back on the old value, if there is one. */
function remembering<T>(
  { clock, log }: Pick<OfferingSourceOptions, 'clock' | 'log'>,
  ageMs: number,
): (key: string, read: () => Promise<T>) => Promise<T> {
  const memory = new Map<string, { readonly value: T; readonly readAtMs: number }>();
  return async (key, read) => {
    const known = memory.get(key);
    if (known !== undefined && clock.monotonicMs() - known.readAtMs < ageMs) return known.value;
    try {
      const value = await read();
      memory.set(key, { value, readAtMs: clock.monotonicMs() });
      return value;
    } catch (error) {
      if (known === undefined || !(error instanceof AppError)) throw error;
      log.warn({ key, code: error.code, error: error.message }, 'could not be read again; the last answer is used');
      return known.value;
    }
  };
}
