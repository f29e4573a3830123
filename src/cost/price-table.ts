import { findInstanceType } from '../simulator/catalogue.ts';

export function listPriceUsdPerHour(instanceType: string): number | null {
  return findInstanceType(instanceType)?.priceUsdPerHour ?? null;
}
