import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Cloud } from '../ports/cloud.ts';
import type { CallGate } from './call-gate.ts';
import type { Ec2Timeouts } from './ec2-client.ts';

export interface Ec2CloudOptions {
  readonly clock: Clock;
  /** Those left out come from `DEFAULT_EC2_TIMEOUTS`. */
  readonly timeouts?: Partial<Ec2Timeouts>;
  readonly logger?: Pick<Log, 'warn'>;
  /** What reads pass, page by page. Left out: one that counts nothing and only tries again. */
  readonly gate?: CallGate;
}

/** EC2 through the SDK. */
export interface Ec2Cloud extends Cloud {
  /** Closes the connections. Calls under way fail. */
  close(): void;
}

/**
 * EC2 through the unmodified AWS SDK, with its standard settings (endpoint, profile, credentials). The SDK is loaded
 * here and not with this file, because it takes a quarter of a second that commands without AWS should not pay.
 */
export async function createEc2Cloud(options: Ec2CloudOptions): Promise<Ec2Cloud> {
  const { openEc2Cloud } = await import('./ec2-adapter.ts');
  return openEc2Cloud(options);
}
