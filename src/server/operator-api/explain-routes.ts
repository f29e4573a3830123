import type { FastifyInstance } from 'fastify';
import { AppError } from '../../model/errors.ts';
import { isId } from '../../model/ids.ts';
import { document, parseInput, required } from './document.ts';
import { agentExplanation, machineExplanation, planDocument, whyNotDocument } from './explain-documents.ts';
import type { OperatorApiOptions } from './options.ts';
import { agentName, machineId, name, planId, storedPlanQuery } from './schemas.ts';

/** What was decided, and why; looks only. */
export function addExplainRoutes(app: FastifyInstance, { reports, actions }: OperatorApiOptions): void {
  app.get<{ Params: { id: string } }>('/v1/plans/:id', async (request) => {
    const { id } = request.params;
    const { input } = parseInput(storedPlanQuery, request.query);
    const plan = await reports.readPlan(id === 'latest' ? null : isId('pl', id) ? id : parseInput(planId, id));
    const what = id === 'latest' ? 'plan yet' : `plan ${id}`;
    return document('StoredPlan', planDocument(required(plan, what, PLAN_REMEDY), input));
  });
  app.get<{ Params: { id: string } }>('/v1/machines/:id/explanation', async (request) => {
    const { id } = request.params;
    const facts = await reports.readMachineFacts(isId('mc', id) ? id : parseInput(machineId, id));
    const found = required(facts, `machine ${id}`, 'list machines with `spillway machine list --all`');
    return document('MachineExplanation', machineExplanation(found));
  });
  app.get<{ Params: { agent: string } }>('/v1/agents/:agent/explanation', async (request) => {
    const agent = parseInput(agentName, request.params.agent);
    const found = required(await reports.readAgentFacts(agent), `agent ${agent}`, AGENT_REMEDY);
    return document('AgentExplanation', agentExplanation(found));
  });
  app.get<{ Params: { workload: string } }>('/v1/workloads/:workload/why-not', async (request) => {
    const workload = parseInput(name, request.params.workload);
    const outcome = await actions.previewPlan(workload);
    const [status, health] = await Promise.all([reports.status(), actions.health()]);
    const answer = whyNotDocument({ workload, outcome, status, health });
    if (answer === null) throw unknownWorkload(workload);
    return document('WhyNot', answer);
  });
}

const PLAN_REMEDY =
  'use `spillway explain plan latest`, or the plan that `spillway machine show ID` names; plans that launched nothing are forgotten in time';
const AGENT_REMEDY = 'list agents with `spillway agent list`';

function unknownWorkload(workload: string): AppError {
  return new AppError('WORKLOAD_UNKNOWN', `no policy is in force for workload ${JSON.stringify(workload)}`, {
    remedy: 'see `spillway policy list`',
  });
}
