import { AppError } from '../../model/errors.ts';
import { DAY_MS, SECOND_MS } from '../../model/time.ts';
import { parseDuration } from '../../model/units.ts';
import type { AgentExplanation } from '../../ports/explanations.ts';
import { parseUnit, usage } from '../options.ts';
import type { CommandContext, CommandSpec } from '../types.ts';
import { AGENT_REASON_OPTION, AGENTS_ARGUMENT, orderAgents } from './orders.ts';

/** Agents report every ten seconds unless something ends. */
const LOOK_AGAIN_MS = SECOND_MS;

export const agentDrain: CommandSpec = {
  path: 'agent drain',
  summary: 'Cordon on-prem agents, and wait until their work is done',
  description:
    'Without --wait it is the same as cordon. With it the command ends when each agent has said that it takes no new tasks and that none runs.',
  arguments: [AGENTS_ARGUMENT],
  options: [
    AGENT_REASON_OPTION,
    { name: 'wait', summary: 'until no task runs there' },
    { name: 'timeout', value: 'DURATION', summary: 'with --wait: for so long at most, up to 7d', default: '1h' },
  ],
  examples: [{ command: 'spillway agent drain --wait --timeout 2h rack-1', summary: 'then it can be switched off' }],
  output: 'list',
  exitCodes: [3, 5, 7],
  seeAlso: ['agent uncordon', 'explain agent'],
  async run(context) {
    const { options, args, signal, wiring } = context;
    const timeoutMs = parseUnit('timeout', options.text('timeout') ?? '1h', parseDuration);
    if (timeoutMs < SECOND_MS || timeoutMs > 7 * DAY_MS)
      throw usage('--timeout must be from 1s to 7d', 'write --timeout 1h');
    await orderAgents(context, { order: 'cordon', body: { cordoned: true, drain: true }, done: 'cordoned' });
    if (!options.isSet('wait')) return 0;
    const untilMs = context.nowMs() + timeoutMs;
    for (const agent of new Set(args)) {
      for (let told = ''; ; await wiring.sleep(LOOK_AGAIN_MS, signal)) {
        const blocker = blockerOf(await look(context, agent));
        if (blocker === null) break;
        if (context.nowMs() >= untilMs) throw lateError(agent, blocker);
        if (blocker !== told) context.output.hint(`${agent}: ${blocker}`);
        told = blocker;
      }
    }
    return 0;
  },
};

async function look({ client }: CommandContext, agent: string): Promise<AgentExplanation> {
  const path = `/v1/agents/${encodeURIComponent(agent)}/explanation`;
  return await (await client()).get<AgentExplanation>('AgentExplanation', path);
}

/** Null = its work is done, by a report that is newer than the cordon. */
function blockerOf({ agent, tasks, leftAt, removedAt }: AgentExplanation): string | null {
  if (leftAt !== null || removedAt !== null) return null;
  if (agent.freshness !== 'fresh') return 'silent, so that nothing is known of its work';
  if (!agent.cordonAcknowledged) return 'has not yet said that it takes no new tasks';
  const count = Math.max(tasks.total, agent.runningTasks);
  if (count === 0) return null;
  return count === 1 ? '1 task runs' : `${count} tasks run`;
}

function lateError(agent: string, blocker: string): AppError {
  return new AppError('TIMEOUT', `agent ${agent} did not finish its work in time: ${blocker}`, {
    remedy:
      'it stays cordoned; wait again, see `spillway explain agent`, or let it work with `spillway agent uncordon`',
  });
}
