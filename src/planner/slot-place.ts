import type { Place } from '../model/constraints.ts';

/** Where a slot is. */
export interface SlotPlace extends Place {
  /** It has GPUs, free or not: work that needs none goes elsewhere while it can. */
  readonly hasGpus: boolean;
  /** Equal for equal places. */
  readonly key: string;
}

/** Makes places, each only once: there are a few dozen, and equal ones are mostly compared by identity. */
export function slotPlace({ site, arch, market }: Place, hasGpus: boolean): SlotPlace {
  const known = PLACES.find(
    (place) => place.site === site && place.arch === arch && place.market === market && place.hasGpus === hasGpus,
  );
  return known ?? makePlace({ site, arch, market }, hasGpus);
}

function makePlace({ site, arch, market }: Place, hasGpus: boolean): SlotPlace {
  return { site, arch, market, hasGpus, key: `${hasGpus ? 'gpus' : ''}/${site}/${arch ?? ''}/${market ?? ''}` };
}

const ARCHITECTURES = ['x86_64', 'arm64', null] as const;

/** Every place there is: an on-prem agent has no market, a cloud one always has. */
const PLACES: readonly SlotPlace[] = [true, false].flatMap((hasGpus) =>
  ARCHITECTURES.flatMap((arch) => [
    makePlace({ site: 'on-prem', arch, market: null }, hasGpus),
    makePlace({ site: 'aws', arch, market: 'on-demand' }, hasGpus),
    makePlace({ site: 'aws', arch, market: 'spot' }, hasGpus),
  ]),
);
