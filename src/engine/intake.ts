import { AppError } from '../model/errors.ts';
import type { TaskId } from '../model/ids.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { TaskKind } from '../ports/tasks.ts';
import type { TaskSubmission } from '../ports/operator.ts';
import { SCRIPT_BYTES_MAX } from '../ports/agent-gateway.ts';
import type { EnginePorts } from './ports.ts';
import { taskQueueName } from './queue-name.ts';
import { renderTaskScript } from './script.ts';

/**
 * Takes tasks in: rows first, then their queue. When the queue is away the rows wait and are added later.
 * @throws AppError WORKLOAD_UNKNOWN, USAGE (command too long)
 */
export async function submitTasks(ports: EnginePorts, request: TaskSubmission): Promise<readonly TaskId[]> {
  const policy = ports.policies().get(request.workload);
  if (policy === undefined) {
    const known = [...ports.policies().keys()].sort();
    throw new AppError('WORKLOAD_UNKNOWN', `no policy is in force for workload ${JSON.stringify(request.workload)}`, {
      remedy: known.length === 0 ? 'add a policy to the policies folder' : `use one of: ${known.join(', ')}`,
    });
  }
  const kind = kindOf(request, policy);
  if (Buffer.byteLength(renderTaskScript(request.command)) > SCRIPT_BYTES_MAX) {
    throw new AppError('USAGE', `the command is longer than ${SCRIPT_BYTES_MAX} bytes`, {
      remedy: 'put the work into a script that the agents can reach and submit its name',
    });
  }
  const ids = Array.from({ length: request.count }, () => ports.ids.next('tk'));
  await ports.tasks.insert({ ...kind, ids, command: request.command, runTimeS: request.runTimeS ?? null });
  try {
    await ports.queues.add(taskQueueName(kind), ids);
  } catch (error) {
    ports.log.warn({ error: String(error), tasks: ids.length }, 'the queue could not be filled; the rows wait');
  }
  ports.wakeAssigner();
  ports.wakePlanner();
  return ids;
}

/** What the request leaves open is as the policy has it, without constraints. */
function kindOf(request: TaskSubmission, { demand }: WorkloadPolicy): TaskKind {
  const usual = demand.queue?.task ?? { cpuMilli: 1000, memoryMib: 1024, gpus: 0 };
  const { workload, shape, gpus, arch = null, localOnly = false, spotOk = true } = request;
  return {
    workload,
    shape: { ...(shape ?? usual), gpus: gpus ?? shape?.gpus ?? usual.gpus },
    constraints: { arch, localOnly, spotOk },
  };
}
