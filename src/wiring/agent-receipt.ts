import { AppError } from '../model/errors.ts';
import type { AgentOrderOutcome, AgentOrderRefusal } from '../ports/agent-orders.ts';
import type { AgentReceipt } from '../ports/operator.ts';

const REFUSALS: Readonly<Record<AgentOrderRefusal, { readonly why: string; readonly remedy: string }>> = {
  'of-a-machine': {
    why: 'runs on a machine in the cloud, which Spillway itself lets go',
    remedy: 'see its machine with `spillway machine list`; policies say when machines go',
  },
  'holds-work': {
    why: 'holds tasks',
    remedy: 'wait for them with `spillway agent drain --wait NAME`, or remove it with --force: they then run elsewhere',
  },
  ambiguous: {
    why: 'is the name of several agents',
    remedy: 'name it by its id, which `spillway agent list -o wide` shows',
  },
};

/** @throws AppError NOT_FOUND, REFUSED */
export function receiptOf(idOrName: string, outcome: AgentOrderOutcome): AgentReceipt {
  if (outcome.kind === 'done') return { agentId: outcome.agentId, changed: outcome.changed };
  if (outcome.kind === 'unknown') {
    throw new AppError('NOT_FOUND', `there is no agent ${idOrName}`, {
      remedy: 'list agents with `spillway agent list`',
    });
  }
  const { why, remedy } = REFUSALS[outcome.because];
  throw new AppError('REFUSED', `agent ${idOrName} ${why}`, { remedy, details: { because: outcome.because } });
}
