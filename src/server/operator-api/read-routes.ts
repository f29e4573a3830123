import type { FastifyInstance } from 'fastify';
import type { OperatorApiOptions } from './options.ts';
import { costDocument } from './cost-document.ts';
import { document, listDocument, parseInput, required } from './document.ts';
import {
  agentListQuery,
  costQuery,
  logQuery,
  machineId,
  machineListQuery,
  machineLogQuery,
  nameKind,
  namesQuery,
  planQuery,
  taskId,
  taskListQuery,
} from './schemas.ts';
import { isId } from '../../model/ids.ts';
import type { MachineId, TaskId } from '../../model/ids.ts';

/** Everything that only looks. */
export function addReadRoutes(app: FastifyInstance, { reports, actions }: OperatorApiOptions): void {
  app.get('/v1/status', async () => {
    const [status, service] = await Promise.all([reports.status(), actions.health()]);
    return document('Status', { service, ...status });
  });
  app.get('/v1/plan', async (request) => {
    const { workload } = parseInput(planQuery, request.query);
    return document('Plan', await actions.previewProvedPlan(workload));
  });
  app.get('/v1/costs', async (request) => {
    const { from, to, by } = parseInput(costQuery, request.query);
    const range = { fromMs: Date.parse(from), toMs: Date.parse(to), by };
    return document('CostReport', costDocument(await reports.readCharges(range.fromMs, range.toMs), range));
  });
  app.get('/v1/machines', async (request) => {
    const { limit, cursor, ...filter } = parseInput(machineListQuery, request.query);
    return listDocument('MachineList', await reports.listMachines(filter, { limit, cursor }));
  });
  app.get<{ Params: { id: string } }>('/v1/machines/:id', async (request) => {
    const id = machineIdOf(request.params.id);
    return document(
      'Machine',
      required(await reports.showMachine(id), `machine ${id}`, 'list machines with `spillway machine list --all`'),
    );
  });
  app.get<{ Params: { id: string } }>('/v1/machines/:id/logs', async (request) => {
    const id = machineIdOf(request.params.id);
    const { after } = parseInput(machineLogQuery, request.query);
    const log = await reports.readMachineLog(id, after);
    return document('MachineLog', required(log, `machine ${id}`, 'list machines with `spillway machine list --all`'));
  });
  app.get('/v1/agents', async (request) =>
    listDocument('AgentList', await reports.listAgents(parseInput(agentListQuery, request.query))),
  );
  app.get<{ Params: { kind: string } }>('/v1/names/:kind', async (request) => {
    const kind = parseInput(nameKind, request.params.kind);
    const { prefix } = parseInput(namesQuery, request.query);
    return document('NameList', { items: await reports.listNames(kind, prefix) });
  });
  app.get('/v1/tasks', async (request) => {
    const { limit, cursor, ...filter } = parseInput(taskListQuery, request.query);
    return listDocument('TaskList', await reports.listTasks(filter, { limit, cursor }));
  });
  app.get<{ Params: { id: string } }>('/v1/tasks/:id', async (request) => {
    const id = taskIdOf(request.params.id);
    return document('Task', required(await reports.showTask(id), `task ${id}`, TASK_REMEDY));
  });
  app.get<{ Params: { id: string } }>('/v1/tasks/:id/logs', async (request) => {
    const id = taskIdOf(request.params.id);
    const { attempt, offset } = parseInput(logQuery, request.query);
    return document('TaskLog', required(await reports.readTaskLog(id, attempt, offset), `task ${id}`, TASK_REMEDY));
  });
}

const TASK_REMEDY = 'list tasks with `spillway task list`';

function machineIdOf(text: string): MachineId {
  return isId('mc', text) ? text : parseInput(machineId, text);
}

function taskIdOf(text: string): TaskId {
  return isId('tk', text) ? text : parseInput(taskId, text);
}
