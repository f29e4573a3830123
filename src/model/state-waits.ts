import type { LaunchState } from './launch.ts';
import { STATE_DEADLINE_MS, type LiveMachineState } from './machine.ts';
import { HOUR_MS, MINUTE_MS } from './time.ts';

/** EC2 answers within seconds; ten minutes outlive a throttled hour's worst minute and every replay of a lost answer. */
export const LAUNCH_DEADLINE_MS = 10 * MINUTE_MS;

/**
 * A call can take effect no later than this after it was begun: it is signed within seconds or not at all, and AWS takes a
 * signature for 15 minutes. A repetition that is refused later than that says that the call had no effect.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonErrors.html (RequestExpired)
 */
export const CALL_SETTLED_AFTER_MS = 16 * MINUTE_MS;

/**
 * For so long beyond its deadline a launch stays open whose call may have had an effect: the token is repeated until EC2 says
 * what came of it, and the money stays reserved. Longer than {@link CALL_SETTLED_AFTER_MS}, so that a clear answer always fits in.
 */
export const LAUNCH_GRACE_MS = 30 * MINUTE_MS;

/**
 * An agent silent for this long is given up. Far beyond any task lease: the agent has stopped its tasks itself by then
 * (it fences itself at two thirds of the lease) and they run elsewhere, so nothing running is killed.
 */
export const AGENT_LOST_AFTER_MS = 15 * MINUTE_MS;

/**
 * An agent unheard of for an hour, e.g. a machine that was taken out of its rack without a word: what it ran has run elsewhere
 * since its leases ended, and no plan looks at it any more. Its row stays for reports.
 */
export const AGENT_GONE_AFTER_MS = HOUR_MS;

/**
 * EC2 gives so much notice before it takes a spot instance back; its best effort may be less.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
 */
export const SPOT_NOTICE_MS = 2 * MINUTE_MS;

/** What a machine gets for its next step when an amnesia is over: its old deadline may have passed while everything held. */
export const DEADLINE_ANEW_MS = 10 * MINUTE_MS;

/** What keeps a row in its state, for how long, and what is done when that time is over. */
export interface StateWait {
  /** From the moment the state was entered; null = waiting is the purpose. */
  readonly deadlineMs: number | null;
  /** The key of a policy that sets another number. */
  readonly setBy: string | null;
  /** Goes on from "waits for". */
  readonly waitsFor: string;
  /** Goes on from "then", once the deadline has passed. */
  readonly next: string;
}

const WITH_GRACE = `, unless a call may have had an effect: then it is repeated for ${LAUNCH_GRACE_MS / MINUTE_MS} minutes more; whatever EC2 shows later is swept up`;

/**
 * Every state in which a machine can be stuck, with the step that its deadline forces (`jobs/`). A live state that is not
 * here does not compile; a test shows for each that the step really comes.
 */
export const MACHINE_WAITS: Readonly<Record<LiveMachineState, StateWait>> = {
  requested: {
    deadlineMs: STATE_DEADLINE_MS.requested,
    setBy: null,
    waitsFor: 'the first call of its launch to EC2',
    next: `its launch is closed as expired and it ends${WITH_GRACE}`,
  },
  launching: {
    deadlineMs: STATE_DEADLINE_MS.launching,
    setBy: null,
    waitsFor: 'an answer of EC2 to its launch',
    next: `its launch is closed as expired and it ends${WITH_GRACE}`,
  },
  booting: {
    deadlineMs: STATE_DEADLINE_MS.booting,
    setBy: null,
    waitsFor: 'an address and an open SSH port',
    next: 'it is terminated (boot-deadline)',
  },
  joining: {
    deadlineMs: STATE_DEADLINE_MS.joining,
    setBy: 'join.ready.deadline',
    waitsFor: 'the recipe, the first report of its agent and the ready command',
    next: 'it is terminated (join-deadline)',
  },
  ready: {
    deadlineMs: STATE_DEADLINE_MS.ready,
    setBy: null,
    waitsFor: 'work, or the planner to call it back',
    next: `it is terminated (agent-lost) only when its agent was silent for ${AGENT_LOST_AFTER_MS / MINUTE_MS} minutes and holds no task`,
  },
  draining: {
    deadlineMs: STATE_DEADLINE_MS.draining,
    setBy: 'drain.deadline',
    waitsFor: 'its agent to obey the cordon and its tasks to end',
    next: 'drain.onDeadline of its policy decides: it is waited for once more, or terminated (drain-deadline)',
  },
  leaving: {
    deadlineMs: STATE_DEADLINE_MS.leaving,
    setBy: null,
    waitsFor: 'the hook beforeTerminate to pass',
    next: 'it is terminated without the hook',
  },
  stopping: {
    deadlineMs: STATE_DEADLINE_MS.stopping,
    setBy: null,
    waitsFor: 'EC2 to say that its instance has stopped',
    next: 'it is terminated instead (its reason to leave stays)',
  },
  stopped: {
    deadlineMs: STATE_DEADLINE_MS.stopped,
    setBy: 'burst.warmPool.maxAge',
    waitsFor: 'work that it is started for, before anything is launched',
    next: 'it is terminated (pool-retired)',
  },
  terminating: {
    deadlineMs: STATE_DEADLINE_MS.terminating,
    setBy: null,
    waitsFor: 'EC2 to say that its instance is gone',
    next: 'an alert is logged, the deadline is set anew and EC2 is asked again: this is never given up',
  },
};

/** Every state in which a launch can be stuck. */
export const LAUNCH_WAITS: Readonly<Record<Extract<LaunchState, 'open'>, StateWait>> = {
  open: {
    deadlineMs: LAUNCH_DEADLINE_MS,
    setBy: null,
    waitsFor: 'a clear answer of EC2 to its call',
    next: `it is closed as expired and its machines without an instance end${WITH_GRACE}`,
  },
};

/** One sentence for whoever asks why a machine does not go on. @param deadlineAt as it is to be shown; null = none */
export function describeMachineWait(state: LiveMachineState, deadlineAt: string | null): string {
  const { waitsFor, next } = MACHINE_WAITS[state];
  return `waits for ${waitsFor}, ${deadlineAt === null ? 'for as long as it takes' : `until ${deadlineAt}`}; then ${next}`;
}
