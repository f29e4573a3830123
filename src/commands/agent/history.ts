import type { AgentEventKind } from '../../ports/agent-orders.ts';
import type { AgentEventDocument } from '../../ports/explanations.ts';

const SAYS: Readonly<Record<AgentEventKind, string>> = {
  register: 'registered, with a token of',
  install: 'installed again by',
  cordon: 'cordoned by',
  drain: 'cordoned for a drain by',
  uncordon: 'uncordoned by',
  remove: 'removed by',
};

/** One line of an agent's history, e.g. `2026-11-22T08:00:00.000Z  cordoned by ada: a new disk`. */
export function agentEventSentence({ at, event, actor, reason, detail }: AgentEventDocument): string {
  const force = detail['heldWork'] === true ? ', although it held work' : '';
  return `${at}  ${SAYS[event]} ${actor}${force}${reason === null ? '' : `: ${reason}`}`;
}
