import type { ImageFacts } from './cloud.ts';
import type { Offering } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';

/** What could be launched now, with the price of the moment. */
export interface OfferingSource {
  /** Every type of the region in every subnet of the policy on both markets; null = not known now (then nothing is launched). */
  list(policy: WorkloadPolicy): Promise<readonly Offering[] | null>;
  /** An image of the policy; known whenever `list` gave offerings. @throws AppError AWS_* */
  image(region: string, imageId: string): Promise<ImageFacts>;
}
