import { HOUR_MS } from '../model/time.ts';
import type { LoopPorts } from './ports.ts';

/** Prices are asked for a little further back than the last turn, so that a missed turn leaves no gap; doubles are dropped. */
const LOOK_BACK_MS = 3 * HOUR_MS;
/** EC2 takes at most some hundred types in one question. */
const TYPES_MAX = 100;

/** Stores the spot prices of the types that the policies' regions offer: EC2 forgets them after 90 days, the ledger must not. */
export async function pricesTick(ports: Pick<LoopPorts, 'cloud' | 'ledger' | 'policies' | 'clock'>): Promise<number> {
  const regions = new Set(
    ports.policies.current().flatMap(({ policy }) => (policy.burst.market.spot > 0 ? [policy.burst.region] : [])),
  );
  let stored = 0;
  for (const region of [...regions].sort()) {
    const names = (await ports.cloud.listInstanceTypes(region)).map(({ name }) => name);
    for (let at = 0; at < names.length; at += TYPES_MAX) {
      const batch = names.slice(at, at + TYPES_MAX);
      const prices = await ports.cloud.listSpotPrices(region, batch, ports.clock.nowMs() - LOOK_BACK_MS);
      await ports.ledger.recordSpotPrices(prices);
      stored += prices.length;
    }
  }
  return stored;
}
