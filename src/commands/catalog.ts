import { agentCordon, agentUncordon } from './agent/cordon.ts';
import { agentDrain } from './agent/drain.ts';
import { agentEnrol } from './agent/enrol.ts';
import { agentInstall } from './agent/install.ts';
import { agentList } from './agent/list.ts';
import { agentRemove } from './agent/remove.ts';
import { agentShow } from './agent/show.ts';
import { backtest } from './backtest/backtest.ts';
import { completion } from './completion.ts';
import { completionNames } from './completion/names.ts';
import { configShow } from './config/show.ts';
import { costReport } from './cost/report.ts';
import { explainAgent } from './explain/agent.ts';
import { explainMachine } from './explain/machine.ts';
import { explainPlan } from './explain/plan.ts';
import { machineDrain, machineUndrain } from './machine/drain.ts';
import { machineList } from './machine/list.ts';
import { machineLogs } from './machine/logs.ts';
import { machineProtect, machineUnprotect } from './machine/protect.ts';
import { machineShow } from './machine/show.ts';
import { machineTerminate } from './machine/terminate.ts';
import { migrate } from './migrate.ts';
import { plan } from './plan.ts';
import { planReplay } from './plan/replay.ts';
import { policyList } from './policy/list.ts';
import { policySchema } from './policy/schema.ts';
import { policyValidate } from './policy/validate.ts';
import { serve } from './serve.ts';
import { simulateChaos } from './simulate/chaos.ts';
import { simulateRegion } from './simulate/region.ts';
import { status } from './status.ts';
import { taskList } from './task/list.ts';
import { taskLogs } from './task/logs.ts';
import { taskShow } from './task/show.ts';
import { taskSubmit } from './task/submit.ts';
import type { CommandSpec } from './types.ts';
import { whyNot } from './why-not.ts';

/** Every command, in the order help lists them: look first, then work, then what runs the service. */
export const COMMANDS: readonly CommandSpec[] = [
  status,
  plan,
  planReplay,
  explainPlan,
  explainMachine,
  explainAgent,
  whyNot,
  taskSubmit,
  taskList,
  taskShow,
  taskLogs,
  machineList,
  machineShow,
  machineLogs,
  machineDrain,
  machineUndrain,
  machineProtect,
  machineUnprotect,
  machineTerminate,
  agentList,
  agentShow,
  agentInstall,
  agentEnrol,
  agentCordon,
  agentUncordon,
  agentDrain,
  agentRemove,
  costReport,
  policyValidate,
  policyList,
  policySchema,
  backtest,
  serve,
  migrate,
  simulateChaos,
  simulateRegion,
  configShow,
  completion,
  completionNames,
];
