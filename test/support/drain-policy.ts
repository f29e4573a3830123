import type { DrainPolicy } from '../../src/model/policy.ts';

/** How machines leave when a test does not care: after five minutes without work, without pauses, hooks or budgets. */
export function aDrainPolicy(changes: Partial<DrainPolicy> = {}): DrainPolicy {
  return {
    scaleDownUnneededMs: 300_000,
    minimumLifeMs: 0,
    churnPauseMs: 900_000,
    consolidation: 'whenEmpty',
    budgets: [],
    cooldown: { scaleUpMs: 0, scaleDownMs: 0 },
    deadlineMs: 1_800_000,
    onDeadline: 'wait',
    hooks: { beforeDrain: null, beforeTerminate: null },
    ...changes,
  };
}
