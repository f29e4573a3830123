import type { RunInstancesRequest } from '@aws-sdk/client-ec2';
import type { IdPrefix } from '../../src/model/ids.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Ids } from '../../src/ports/ids.ts';
import type { RegionOptions } from '../../src/simulator/region.ts';
import { Region } from '../../src/simulator/region.ts';
import { SIMULATED_IMAGES, SIMULATED_SECURITY_GROUP, SIMULATED_SUBNETS } from '../../src/simulator/world.ts';

/** A clock that stands until it is stepped. */
export class SteppedClock implements Clock {
  private currentMs: number;

  constructor(startMs = Date.UTC(2026, 6, 20, 12)) {
    this.currentMs = startMs;
  }

  nowMs(): number {
    return this.currentMs;
  }

  monotonicMs(): number {
    return this.currentMs;
  }

  sleep(): Promise<void> {
    return Promise.reject(new Error('nothing in the core of the region sleeps'));
  }

  step(ms: number): void {
    this.currentMs += ms;
  }
}

/** Ids from a counter put through a mixer: the same in every run, and they do not look like a sequence. */
export class SeededIds implements Ids {
  private state: number;

  constructor(seed = 1) {
    this.state = seed;
  }

  next<P extends IdPrefix>(prefix: P): `${P}-${string}` {
    return `${prefix}-${this.hex(6)}`;
  }

  hex(bytes: number): string {
    return Array.from({ length: bytes }, () =>
      Math.floor(this.random() * 256)
        .toString(16)
        .padStart(2, '0'),
    ).join('');
  }

  random(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}

/** A core on a stepped clock. Throttling is off unless asked for: a stepped clock refills nothing. */
export function newRegion(settings: RegionOptions['settings'] = {}, iamPolicy: string | null = null) {
  const clock = new SteppedClock();
  const region = new Region({ clock, ids: new SeededIds(), settings: { throttling: false, ...settings }, iamPolicy });
  return { clock, region };
}

/** The smallest launch of one instance in zone a. */
export const LAUNCH: RunInstancesRequest = {
  ImageId: SIMULATED_IMAGES.x86_64,
  InstanceType: 'c5.large',
  SubnetId: SIMULATED_SUBNETS.a,
  SecurityGroupIds: [SIMULATED_SECURITY_GROUP],
  MinCount: 1,
  MaxCount: 1,
};

/** The code of the Ec2Error that `act` throws; fails when it throws none. */
export function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  throw new Error('nothing was thrown');
}
