import { AppError } from '../../../src/model/errors.ts';
import type { AgentId, TaskId } from '../../../src/model/ids.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { createMetrics } from '../../../src/observability/metrics.ts';
import type { EnrolmentRequest, OperatorActions, ServiceHealth, TaskSubmission } from '../../../src/ports/operator.ts';
import type { PlanPreview } from '../../../src/planner/proof.ts';
import { createOperatorApi } from '../../../src/server/operator-api/create-operator-api.ts';
import { createReports } from '../../../src/store/reports.ts';
import type { Db } from '../../../src/store/database.ts';
import { NOW_MS } from '../../store/reports-fleet.ts';
import { realClock } from '../../support/clock.ts';

export const HEALTHY: ServiceHealth = {
  ready: true,
  leader: true,
  checks: [{ name: 'database', state: 'ok', detail: '', sinceMs: NOW_MS - 5000 }],
};

export const EMPTY_PLAN: PlanPreview = { decidedAtMs: NOW_MS, workloads: [], proofs: [] };

const AGENT_ID: AgentId = 'ag-000000000001';

/** Actions that remember what they were asked; `overrides` replaces single ones. */
export function recordingActions(overrides: Partial<OperatorActions> = {}) {
  const submissions: TaskSubmission[] = [];
  const enrolments: EnrolmentRequest[] = [];
  const agentOrders: unknown[] = [];
  const actions: OperatorActions = {
    submitTasks: async (request) => {
      if (request.workload !== 'transcode') {
        throw new AppError('WORKLOAD_UNKNOWN', `no policy is named ${request.workload}`, {
          remedy: 'see `spillway policy list`',
        });
      }
      submissions.push(request);
      return Array.from({ length: request.count }, (_, index): TaskId => `tk-${String(index).padStart(12, '0')}`);
    },
    previewPlan: async () => EMPTY_PLAN,
    previewProvedPlan: async () => EMPTY_PLAN,
    createEnrolment: async (request) => {
      enrolments.push(request);
      return { token: 'en-secret', expiresAtMs: NOW_MS + request.ttlMs };
    },
    cordonAgent: async (idOrName, order) => {
      agentOrders.push({ agent: idOrName, cordoned: order !== 'uncordon' });
      return { agentId: AGENT_ID, changed: true };
    },
    removeAgent: async (idOrName, force) => {
      agentOrders.push({ agent: idOrName, force });
      return { agentId: AGENT_ID, changed: true };
    },
    orderMachine: async (id, { kind }) => ({ id, order: kind, changed: true, state: 'ready', tagProtected: false }),
    health: async () => HEALTHY,
    ...overrides,
  };
  return { actions, submissions, enrolments, agentOrders };
}

/** The real operator API over real reports, not listening; what it logs is kept. */
export function startableApi(db: Db, overrides: Partial<OperatorActions> = {}, handlerTimeoutMs = 5000) {
  const recorded = recordingActions(overrides);
  const logged: string[] = [];
  const app = createOperatorApi({
    actions: recorded.actions,
    reports: createReports(db),
    log: createLogger({ level: 'debug', destination: { write: (line) => void logged.push(line) } }),
    metrics: createMetrics('1.2.3'),
    clock: { ...realClock, nowMs: () => NOW_MS },
    agentUrl: 'https://spillway.example:7778',
    waits: { handlerMs: handlerTimeoutMs },
  });
  return { app, logged, ...recorded };
}
