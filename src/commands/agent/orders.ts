import { AppError } from '../../model/errors.ts';
import type { AgentReceipt } from '../../ports/operator.ts';
import type { Column } from '../output/table.ts';
import type { CommandContext, OptionSpec } from '../types.ts';

/** What became of one agent that a command named. */
interface AgentResult {
  readonly agent: string;
  readonly id: string;
  readonly result: string;
}

const COLUMNS: readonly Column<AgentResult>[] = [
  { header: 'AGENT', raw: (row) => row.agent },
  { header: 'ID', raw: (row) => row.id },
  { header: 'RESULT', raw: (row) => row.result },
];

export interface AgentOrder {
  /** Last part of the path: `cordon` or `remove`. */
  readonly order: string;
  readonly body: Readonly<Record<string, boolean>>;
  /** One word for what it is now, e.g. `cordoned`. */
  readonly done: string;
}

export const AGENT_REASON_OPTION: OptionSpec = {
  name: 'reason',
  value: 'TEXT',
  summary: 'why, for whoever reads the history of the agent',
};

export const AGENTS_ARGUMENT = {
  name: 'AGENT',
  summary: 'name or id of an on-prem agent',
  variadic: true,
  names: 'local-agents',
} as const;

/**
 * Gives each named agent the order and lists what came of it. One that is refused does not keep the others from theirs; the first
 * refusal ends the command.
 */
export async function orderAgents(
  { args, options, output, client, wiring }: CommandContext,
  { order, body, done }: AgentOrder,
): Promise<void> {
  const service = await client();
  const whole = { by: wiring.userName(), reason: options.text('reason'), ...body };
  const results: AgentResult[] = [];
  const refusals: AppError[] = [];
  for (const agent of new Set(args)) {
    try {
      const path = `/v1/agents/${encodeURIComponent(agent)}/${order}`;
      const { agentId, changed } = await service.post<AgentReceipt>('AgentReceipt', path, whole);
      results.push({ agent, id: agentId, result: changed ? done : `${done} before` });
    } catch (error) {
      if (!(error instanceof AppError) || (error.code !== 'REFUSED' && error.code !== 'NOT_FOUND')) throw error;
      refusals.push(error);
    }
  }
  await output.list({
    kind: 'AgentResultList',
    items: results,
    columns: COLUMNS,
    name: ({ id }) => id,
    empty: 'nothing was changed',
  });
  const [first, ...others] = refusals;
  for (const { message } of others) output.hint(message);
  if (first !== undefined) throw first;
}
