/** Ids are a prefix that tells the kind, then random characters: readable in logs, never from a sequence. */
export type AgentId = `ag-${string}`;
export type MachineId = `mc-${string}`;
export type LaunchId = `ln-${string}`;
export type PlanId = `pl-${string}`;
export type TaskId = `tk-${string}`;

/**
 * A trace id as in W3C trace context: 32 lower-case hex digits. Made with a plan and carried by everything that comes of it:
 * launches, machines, their events, and the tag `spillway:trace` on instances and volumes.
 */
export type TraceId = string;

export type IdPrefix = 'ag' | 'mc' | 'ln' | 'pl' | 'tk';

/** Random part: 12 characters of 32 = 60 bits, so that a million ids meet with a chance below one in two million. */
const ID_PATTERN = /^(?:ag|mc|ln|pl|tk)-[0-9a-z]{12}$/;

/** True for a whole id of the given kind; input from outside is checked with this before it reaches SQL. */
export function isId<P extends IdPrefix>(prefix: P, text: string): text is `${P}-${string}` {
  return text.startsWith(`${prefix}-`) && ID_PATTERN.test(text);
}
