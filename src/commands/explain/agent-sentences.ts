import type { AgentExplanation, ServedWorkload } from '../../ports/explanations.ts';
import { agentEventSentence } from '../agent/history.ts';
import { humanAge, shape } from '../output/format.ts';
import { tasksText } from './machine-sentences.ts';

/** Whether an agent counts, for whom, with what, and until when. */
export function agentSentences(explanation: AgentExplanation): string[] {
  const { agent, at, machine, tasks } = explanation;
  const where = agent.site === 'on-prem' ? 'on-prem' : `on machine ${agent.machineId ?? 'unknown'}`;
  const { workloads } = explanation;
  return [
    `Agent ${agent.name} (${agent.id}), ${where}, ${shape(agent.capacity)}`,
    `Reports: ${reportsText(explanation)}`,
    `Cordon: ${cordonText(explanation)}`,
    tasks.total === 0 ? 'Work: it holds no task' : `Work: it holds ${tasksText(tasks, at)}`,
    ...otherSentences(explanation),
    ...(machine === null ? [] : [`Machine: ${machine.id} of ${machine.workload} is ${machine.state}`]),
    ...(workloads.length === 0 ? [servesNobody(explanation)] : workloads.map((one) => servedSentence(one))),
    ...endSentences(explanation),
    ...explanation.events.map((event) => `Ordered: ${agentEventSentence(event)}`),
  ];
}

function reportsText({ agent, at, leftAt, removedAt }: AgentExplanation): string {
  if (removedAt !== null) return `it was removed at ${removedAt}`;
  if (leftAt !== null) return `it said goodbye at ${leftAt}; it counts again as soon as it reports`;
  if (agent.lastSeenAt === null) return `it has never reported since it was registered at ${agent.registeredAt}`;
  const age = humanAge(agent.lastSeenAt, Date.parse(at));
  return `${agent.freshness}, last seen ${age} ago (${agent.lastSeenAt})`;
}

function otherSentences({ agent }: AgentExplanation): string[] {
  const { otherTasks, rebalanceNoticedAt } = agent;
  const others =
    otherTasks === null
      ? ['Other engines: its probe fails, so that it counts as at work']
      : otherTasks > 0
        ? [`Other engines: its probe tells of ${otherTasks} running`]
        : [];
  if (rebalanceNoticedAt === null) return others;
  return [...others, `EC2: since ${rebalanceNoticedAt} it says that it may take the machine back`];
}

function cordonText({ agent }: AgentExplanation): string {
  if (!agent.cordoned) return 'it takes tasks';
  return agent.cordonAcknowledged
    ? 'it takes no new tasks, and has said so'
    : 'it is told to take no new tasks, and has not said so yet';
}

function servedSentence({ workload, freshnessS, silentAt, silent }: ServedWorkload): string {
  const limit = `demand.freshness of ${freshnessS} s`;
  if (silentAt === null) return `Workload ${workload} selects it, and lets nothing go until its first report`;
  return silent
    ? `Workload ${workload} selects it; it counts as silent since ${silentAt} (${limit}): its room is not offered and nothing is let go`
    : `Workload ${workload} selects it; without a report it counts as silent from ${silentAt} on (${limit})`;
}

function servesNobody({ agent }: AgentExplanation): string {
  const labels = Object.entries(agent.labels).map(([key, value]) => `${key}=${value}`);
  const told = labels.length === 0 ? 'it has no labels' : `its labels are ${labels.join(', ')}`;
  return `No workload in force selects it: ${told}`;
}

function endSentences({ goneAt, givenUpAt, at, tasks }: AgentExplanation): string[] {
  const gone =
    goneAt === null
      ? 'Gone: no plan looks at it'
      : `Gone: from ${goneAt} on no plan looks at it, unless it reports before`;
  if (givenUpAt === null) return [gone];
  const but = tasks.total === 0 ? '' : ', but not while it holds a task';
  const when =
    givenUpAt <= at
      ? 'is due to be terminated (agent-lost)'
      : `is terminated (agent-lost) from ${givenUpAt} on, unless it reports before`;
  return [gone, `Given up: its machine ${when}${but}`];
}
