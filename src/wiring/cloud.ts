import { openCallGate } from '../cloud/call-gate.ts';
import { createEc2Cloud, type Ec2Cloud } from '../cloud/ec2.ts';
import { limitCloud } from '../cloud/limited.ts';
import type { Config } from '../config/types.ts';
import type { ApiBudget } from '../ports/api-budget.ts';
import type { Log } from '../ports/log.ts';
import type { CloudMeter } from '../ports/meter.ts';
import { systemClock, systemIds } from './system.ts';

export interface CloudParts {
  readonly config: Pick<Config, 'awsRequestTimeoutMs'>;
  readonly log: Log;
  readonly budget: ApiBudget;
  readonly meter: CloudMeter;
}

/** EC2 with the buckets that all replicas share: no call leaves without its token. */
export async function openCloud({ config, log, budget, meter }: CloudParts): Promise<Ec2Cloud> {
  const gate = openCallGate({ clock: systemClock, budget, random: systemIds.random, meter, log });
  const timeouts = { requestMs: config.awsRequestTimeoutMs };
  return limitCloud(await createEc2Cloud({ clock: systemClock, timeouts, logger: log, gate }), gate);
}
