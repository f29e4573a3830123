import type { FastifyInstance } from 'fastify';
import type { OperatorApiOptions } from './options.ts';
import { document, parseInput } from './document.ts';
import { enrolmentRequest, taskSubmission } from './schemas.ts';

/** Everything that changes something. */
export function addWriteRoutes(app: FastifyInstance, { actions, agentUrl }: OperatorApiOptions): void {
  app.post('/v1/tasks', async (request, reply) => {
    const taskIds = await actions.submitTasks(parseInput(taskSubmission, request.body));
    return reply.code(201).send(document('TaskReceipt', { taskIds }));
  });
  app.post('/v1/enrolments', async (request, reply) => {
    const { token, expiresAtMs } = await actions.createEnrolment(parseInput(enrolmentRequest, request.body));
    return reply
      .code(201)
      .send(document('Enrolment', { token, expiresAt: new Date(expiresAtMs).toISOString(), agentUrl }));
  });
}
