import type { Resources } from './resources.ts';

export type Market = 'on-demand' | 'spot';
export type Architecture = 'x86_64' | 'arm64';

/** The hardware of one EC2 instance type, as DescribeInstanceTypes tells it. */
export interface InstanceType {
  /** e.g. `c6a.4xlarge` */
  readonly name: string;
  /** e.g. `c6a` */
  readonly family: string;
  readonly resources: Resources;
  readonly architecture: Architecture;
  /** `t*` families: the vCPUs are a burst, not a promise. */
  readonly burstable: boolean;
}

/** Something that can be launched: a type in a zone on a market, with what it costs now. */
export interface Offering {
  readonly instanceType: InstanceType;
  readonly zone: string;
  readonly subnetId: string;
  readonly market: Market;
  readonly priceUsdPerHour: number;
  /** Keys of holds whose time is over: one launch of one machine may find out whether EC2 gives it again. Absent = none. */
  readonly probes?: readonly string[];
}

/** Key of an offering in the memory of what could not be had: type, zone and market. */
export function offeringKey(offering: { instanceType: { name: string }; zone: string; market: Market }): string {
  return `${offering.instanceType.name}/${offering.zone}/${offering.market}`;
}
