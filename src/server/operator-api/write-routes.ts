import type { FastifyInstance } from 'fastify';
import type { OperatorApiOptions } from './options.ts';
import { document, parseInput } from './document.ts';
import { isId } from '../../model/ids.ts';
import { MACHINE_ORDERS } from '../../ports/operator.ts';
import {
  agentCordon,
  agentName,
  agentRemoval,
  enrolmentRequest,
  machineId,
  machineOrder,
  taskSubmission,
} from './schemas.ts';

/** Everything that changes something. */
export function addWriteRoutes(app: FastifyInstance, { actions, agentUrl }: OperatorApiOptions): void {
  app.post('/v1/tasks', async (request, reply) => {
    const taskIds = await actions.submitTasks(parseInput(taskSubmission, request.body));
    return reply.code(201).send(document('TaskReceipt', { taskIds }));
  });
  for (const kind of MACHINE_ORDERS) {
    app.post<{ Params: { id: string } }>(`/v1/machines/:id/${kind}`, async (request) => {
      const { id } = request.params;
      const order = parseInput(machineOrder, request.body ?? {});
      const receipt = await actions.orderMachine(isId('mc', id) ? id : parseInput(machineId, id), { kind, ...order });
      return document('MachineOrder', receipt);
    });
  }
  app.post('/v1/enrolments', async (request, reply) => {
    const { token, expiresAtMs } = await actions.createEnrolment(parseInput(enrolmentRequest, request.body));
    return reply
      .code(201)
      .send(document('Enrolment', { token, expiresAt: new Date(expiresAtMs).toISOString(), agentUrl }));
  });
  app.post<{ Params: { agent: string } }>('/v1/agents/:agent/cordon', async (request) => {
    const agent = parseInput(agentName, request.params.agent);
    const { cordoned, drain, ...orderer } = parseInput(agentCordon, request.body);
    const order = cordoned ? (drain ? 'drain' : 'cordon') : 'uncordon';
    return document('AgentReceipt', await actions.cordonAgent(agent, order, orderer));
  });
  app.post<{ Params: { agent: string } }>('/v1/agents/:agent/remove', async (request) => {
    const agent = parseInput(agentName, request.params.agent);
    const { force, ...orderer } = parseInput(agentRemoval, request.body);
    return document('AgentReceipt', await actions.removeAgent(agent, force, orderer));
  });
}
