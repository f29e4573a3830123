import { waitMs } from '../../model/waits.ts';
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
  /** Those left out come from `OPERATOR_API_WAITS`. */
  readonly waits?: Partial<OperatorApiWaits>;
}

/** How long the operator API waits for its callers and for what it asks; see the list of waits. */
export interface OperatorApiWaits {
  readonly headersMs: number;
  readonly requestMs: number;
  readonly handlerMs: number;
  readonly probeMs: number;
  readonly silenceMs: number;
  readonly idleMs: number;
  readonly closeMs: number;
}

export const OPERATOR_API_WAITS: OperatorApiWaits = Object.freeze({
  headersMs: waitMs('operator-api.headers'),
  requestMs: waitMs('operator-api.request'),
  handlerMs: waitMs('operator-api.handler'),
  probeMs: waitMs('operator-api.probe'),
  silenceMs: waitMs('operator-api.silence'),
  idleMs: waitMs('operator-api.idle'),
  closeMs: waitMs('operator-api.close'),
});
