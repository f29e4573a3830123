import type { Metrics } from '../../observability/metrics.ts';
import type { Logger } from '../../observability/log.ts';
import type { Clock } from '../../ports/clock.ts';
import type { OperatorActions } from '../../ports/operator.ts';
import type { Reports } from '../../ports/reports.ts';

export interface OperatorApiOptions {
  readonly actions: OperatorActions;
  readonly reports: Reports;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly clock: Pick<Clock, 'nowMs' | 'sleep'>;
  /** Where agents reach the service; told with every enrolment. */
  readonly agentUrl: string;
  /** Names besides localhost, 127.0.0.1 and [::1] under which the API may be asked; without a port. */
  readonly allowedHosts?: readonly string[];
  /** Deadline of one answer. Default 30 s: a plan waits for prices of EC2. */
  readonly handlerTimeoutMs?: number;
}
