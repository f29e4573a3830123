import type { Reports } from '../ports/reports.ts';
import type { Db } from './database.ts';
import { readMachineLog } from './machine-output.ts';
import { listAgents } from './reports-agents.ts';
import { readCharges } from './reports-charges.ts';
import { readAgentFacts, readMachineFacts } from './reports-explain.ts';
import { listMachines, showMachine } from './reports-machines.ts';
import { listNames } from './reports-names.ts';
import { readPlan } from './reports-plans.ts';
import { answered } from './reports-shared.ts';
import { readStatus } from './reports-status.ts';
import { listTasks, readTaskLog, showTask } from './reports-tasks.ts';

export interface ReportsOptions {
  /** An agent silent for longer counts as stale in what people see. Default 30 s. */
  readonly freshnessMs?: number;
}

/** What operators may read, from Postgres. Never writes. */
export function createReports(db: Db, options: ReportsOptions = {}): Reports {
  const freshnessMs = options.freshnessMs ?? 30_000;
  return {
    listMachines: async (filter, page) => answered(async () => listMachines(db, filter, page)),
    showMachine: async (id) => answered(async () => showMachine(db, id)),
    readMachineLog: async (id, after) => answered(async () => readMachineLog(db, id, after)),
    listAgents: async (page) => answered(async () => listAgents(db, page, freshnessMs)),
    listTasks: async (filter, page) => answered(async () => listTasks(db, filter, page)),
    showTask: async (id) => answered(async () => showTask(db, id)),
    readTaskLog: async (id, attempt, offset) => answered(async () => readTaskLog(db, id, attempt, offset)),
    readCharges: async (fromMs, toMs) => answered(async () => readCharges(db, fromMs, toMs)),
    readPlan: async (id) => answered(async () => readPlan(db, id)),
    readMachineFacts: async (id) => answered(async () => readMachineFacts(db, id, freshnessMs)),
    readAgentFacts: async (idOrName) => answered(async () => readAgentFacts(db, idOrName, freshnessMs)),
    listNames: async (kind, prefix) => answered(async () => listNames(db, kind, prefix)),
    status: async () => answered(async () => readStatus(db, freshnessMs)),
  };
}
