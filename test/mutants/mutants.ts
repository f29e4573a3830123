import type { Kill } from '../simulation/reliability-report.ts';
import { edit, type Edit, type Mutant, one, plant, seenBy, type WitnessTest } from './mutant.ts';

/** Who noticed a planted bug. */
export type { Edit, Kill, Mutant, WitnessTest };
export { plant };

export const MUTANTS: readonly Mutant[] = [
  // 6: one decider
  seenBy(
    'store/planning-fence',
    'an older epoch of the same holder is fenced',
    one('no-fence', 6, 'store/leadership.ts', 'return row !== undefined;', 'return row !== undefined || true;'),
  ),
  // The mandate of both clocks, the renewal at every awakening and the server's end of idle transactions all stand before this one.
  seenBy(
    'store/planning-fence',
    'a takeover cannot come between the check and the writes',
    one('plain-select-fence', 6, 'store/leadership.ts', '    .forShare()\n', ''),
  ),

  // 1 and 5: one intent, its count, its money
  one(
    'token-made-at-call-time',
    1,
    'jobs/launch.ts',
    '    token: launch.token,\n',
    '    token: ports.credentials.makeToken(ports.ids.hex(16), 1),\n',
  ),

  one('unsettled-calls-forgotten', 1, 'store/launch-rows.ts', '  return unsettled;\n', '  return unsettled * 0;\n'),
  seenBy(
    'store/launch-ladder',
    'by two deliveries is one move, and a late one begins no call with the former token',
    one(
      'twins-begin-any-attempt',
      1,
      'store/launches.ts',
      'launch.attempt !== attempt) return null',
      'launch.attempt < 0) return null',
    ),
  ),

  seenBy(
    'store/launch-ladder',
    'does not happen, however late, once a call of the attempt was answered with instances',
    one(
      'answered-calls-forgotten',
      1,
      'store/launch-rows.ts',
      "        eb('outcome', '=', 'launched'),\n",
      "        eb('outcome', '=', 'never'),\n",
    ),
  ),
  one(
    'unknown-is-refused',
    1,
    'jobs/launch.ts',
    '  await ports.launches.finishCall(callId, outcome);\n',
    "  if (outcome.kind === 'unknown') Object.assign(outcome, { kind: 'refused', errorClass: 'capacity' });\n  await ports.launches.finishCall(callId, outcome);\n",
  ),
  seenBy(
    'store/launches',
    'at its deadline waits for a call that is in the air, until the grace is over',
    one(
      'deadline-forgets-calls',
      5,
      'store/launches.ts',
      "  if (state === 'expired' && (forgotten || (await mayHaveInstances(tx, id, launch.attempt)))) return false;\n",
      '',
    ),
  ),
  seenBy('planner/plan-limits', 'counts machines that are leaving against the maximum', {
    name: 'leaving-machines-cost-nothing',
    invariant: 5,
    edits: [
      edit(
        'store/launch-room.ts',
        "    .where('state', 'not in', ['stopped', 'terminated'])\n",
        "    .where('state', 'in', ['requested', 'launching', 'booting', 'joining', 'ready'])\n",
      ),
      edit(
        'planner/draft.ts',
        'limits.max - fleet.machines.length - begun',
        'limits.max - fleet.machines.filter(({ state }) => STAYING_STATES.includes(state)).length - begun',
      ),
      edit(
        'planner/draft.ts',
        'fleet.machines.map(({ priceUsdPerHour }) => priceUsdPerHour)',
        'fleet.machines.filter(({ state }) => STAYING_STATES.includes(state)).map(({ priceUsdPerHour }) => priceUsdPerHour)',
      ),
    ],
  }),
  seenBy('store/planning', 'a limit that would break by what is live now makes the plan outdated and writes nothing', {
    name: 'starting-machines-cost-nothing',
    invariant: 5,
    edits: [
      edit(
        'store/launch-room.ts',
        "    .where('state', 'not in', ['stopped', 'terminated'])\n",
        "    .where('instance_id', 'is not', null)\n    .where('state', 'not in', ['stopped', 'terminated'])\n",
      ),
      edit(
        'planner/draft.ts',
        'limits.max - fleet.machines.length - begun',
        'limits.max - fleet.machines.filter(({ agentId }) => agentId !== null).length - begun',
      ),
      edit(
        'planner/draft.ts',
        'fleet.machines.map(({ priceUsdPerHour }) => priceUsdPerHour)',
        'fleet.machines.filter(({ agentId }) => agentId !== null).map(({ priceUsdPerHour }) => priceUsdPerHour)',
      ),
    ],
  }),

  // 2: no orphans, nothing foreign
  one(
    'foreign-tag-trusted',
    2,
    'loops/sweep.ts',
    'const proof = ports.credentials.verifyToken(instance.clientToken);',
    "const proof = ports.credentials.verifyToken(instance.clientToken) ?? { nonce: '0'.repeat(32), attempt: 1 };",
  ),
  seenBy(
    'loops/sweep',
    'is ended after three complete listings and a minute, and at the age of five minutes, not earlier',
    one(
      'orphans-never-ended',
      2,
      'loops/sweep.ts',
      'mandate === null || all.length === 0 ||',
      'mandate === null || all.length >= 0 ||',
    ),
  ),
  seenBy(
    'store/sweeping',
    'means nothing in a listing that is not complete',
    one(
      'incomplete-listing-believed',
      2,
      'store/sweeping.ts',
      'if (listing.complete) await countMissing',
      'await countMissing',
    ),
  ),
  seenBy(
    'jobs/work-gone',
    'not when two did',
    one(
      'missing-once-is-gone',
      2,
      'jobs/gone.ts',
      'const MISSING_LISTINGS_MIN = 3;',
      'const MISSING_LISTINGS_MIN = 1;',
    ),
  ),
  seenBy(
    'jobs/work-gone',
    'not while it starts',
    one(
      'starting-is-gone',
      2,
      'jobs/gone.ts',
      "observed.state === 'terminated' ||",
      "observed.state === 'terminated' || observed.state === 'pending' ||",
    ),
  ),

  // 3: running work
  seenBy(
    'jobs/work-gone',
    'but not while it reports a running task',
    one('no-look-at-work', 3, 'jobs/drain.ts', 'agent.runningTasks === 0 && agent.heldTasks === 0', 'true'),
  ),
  seenBy(
    'jobs/work-gone',
    'but not while the cordon is not acknowledged',
    one(
      'no-cordon-acknowledgement',
      3,
      'jobs/drain.ts',
      '  if (agent.cordonAckedAtMs === null || agent.lastSeenAtMs === null) return false;\n  return agent.lastSeenAtMs >= agent.cordonAckedAtMs &&',
      '  return',
    ),
  ),
  seenBy(
    'store/agent-reports',
    'counts only for the newest generation, and the first one is remembered',
    one(
      'any-acknowledgement-counts',
      3,
      'store/agent-reports.ts',
      'when a.cordoned and report.acked = a.cordon_generation then',
      'when a.cordoned then',
    ),
  ),
  seenBy(
    'store/agent-reports',
    'of a cordon that was lifted says nothing about the next one',
    one(
      'cordon-keeps-its-generation',
      3,
      'store/cordon.ts',
      'sql<number>`cordon_generation + 1`',
      'sql<number>`greatest(cordon_generation, 1)`',
    ),
  ),
  one(
    'old-reports-accepted',
    3,
    'store/agent-reports.ts',
    'a.seq < report.seq else',
    'a.seq < report.seq + 100000 else',
  ),
  one(
    'leases-end-early',
    3,
    'store/tasks.ts',
    'and lease_expires_at <= spillway.now()',
    "and lease_expires_at <= spillway.now() + interval '1 hour'",
  ),
  one(
    'leases-never-end',
    8,
    'store/tasks.ts',
    'and lease_expires_at <= spillway.now()',
    "and lease_expires_at <= spillway.now() - interval '20 years'",
  ),

  seenBy(
    'store/agent-reports',
    'not started yet, and the agent’s own fence would come after the end of the lease: it runs elsewhere',
    one(
      'ordered-with-any-lease',
      11,
      'model/task.ts',
      'return leaseMs * FENCE_SHARE + Math.min(KILL_GRACE_MS, leaseMs / 6);',
      'return leaseMs * -1;',
    ),
  ),

  // 4: unknown is hold
  seenBy(
    'planner/plan-scale-down',
    'nothing goes on reports that are too old',
    one('stale-is-fresh', 4, 'planner/fleet.ts', 'nowMs - lastSeenAtMs <= freshnessMs', 'nowMs - lastSeenAtMs <= 1e12'),
  ),

  // 7: the same input, the same plan
  one(
    'plan-by-chance',
    7,
    'planner/order.ts',
    '  if (a === b) return 0;\n',
    '  if (a === b) return Math.random() - 0.5;\n',
  ),

  one(
    'input-kept-in-part',
    7,
    'loops/plan.ts',
    '    input,\n    outcome,\n',
    '    input: { ...input, agents: [] },\n    outcome,\n',
  ),

  // 10: verified hosts, no secrets
  one('any-host-key', 10, 'jobs/ssh-target.ts', 'ports.credentials.hostPublicKey(record.launch.nonce)', "''"),
  one(
    'token-in-labels',
    10,
    'jobs/join.ts',
    '    { workload: machine.workload },\n',
    '    { workload: machine.workload, token },\n',
  ),
  one(
    'token-in-the-log',
    10,
    'jobs/join.ts',
    '    await session.upload(files);\n',
    "    await session.upload(files);\n    ports.log.info({ machineId: machine.id, files }, 'files are uploaded');\n",
  ),

  // 8: nothing is stuck
  one(
    'no-doorbell-by-rows',
    12,
    'loops/ring.ts',
    'if (due.length > 0) await ports.wake.ring(due);',
    'if (due.length > 1e6) await ports.wake.ring(due);',
  ),
  seenBy(
    'jobs/join',
    'installs a silent agent anew every half minute and ends at its deadline',
    one(
      'join-has-no-deadline',
      8,
      'jobs/join.ts',
      "  if (isPastDeadline(record)) return await giveUpJoin(ports, record, machine, { reason: 'join-deadline', detail: {} });\n",
      '',
    ),
  ),
  seenBy(
    'loops/plan',
    'drains the machines of a policy that is gone, and no others',
    one(
      'removed-policy-forgotten',
      8,
      'planner/without-policy.ts',
      'filter(({ workload }) => !inForce.has(workload))',
      "filter(({ workload }) => !inForce.has(workload) && workload === '')",
    ),
  ),

  // 9: the ledger
  one(
    'charged-from-long-before',
    9,
    'cost/charges.ts',
    'return wholeSeconds(Math.max(pendingSeenAtMs + leftMs, launchAtMs ?? 0));',
    'return wholeSeconds(Math.max(pendingSeenAtMs + leftMs, launchAtMs ?? 0) - 600_000);',
  ),
  seenBy(
    'cost/charges',
    'charges a volume from the launch on',
    one('volume-is-free', 9, 'cost/charges.ts', 'machine.volumeGib === 0', 'machine.volumeGib >= 0'),
  ),
  one('charged-twice', 9, 'cost/charges.ts', 'machine.chargedThroughMs ?? meter.beginMs);', '0);'),

  // 13 and 14: how machines are let go
  seenBy(
    'store/machine-orders',
    'is not drained by a plan that was made before it was protected',
    one(
      'protection-comes-too-late',
      13,
      'store/machines.ts',
      '.$if(transition.unlessProtected === true,',
      '.$if(transition.unlessProtected === null,',
    ),
  ),
  seenBy(
    'jobs/drain-orders',
    'stays when its policy is removed, and goes when it is unprotected',
    one(
      'protected-machines-are-planned-away',
      13,
      'store/protection.ts',
      "coalesce(${column('protected_until')} > spillway.now(), true)",
      "coalesce(${column('protected_until')} > spillway.now(), false)",
    ),
  ),
  seenBy(
    'jobs/drain-orders',
    'go one after the other, whoever asked, each only when the health hook passes',
    one(
      'two-at-a-time',
      14,
      'store/drain-notes.ts',
      'return other === undefined && (await',
      "return other?.id !== '' && (await",
    ),
  ),
  seenBy(
    'jobs/drain-orders',
    'stay while the health hook fails, beyond their deadline, and say so',
    one('ill-machines-go', 14, 'jobs/drain-gates.ts', '  if (!passed) return HEALTH_AGAIN_MS;\n', ''),
  ),
  seenBy(
    'loops/amnesia-drains',
    'is not ended before its agent has told again what it runs',
    one('drains-go-on-after-amnesia', 3, 'store/memory.ts', '  await beginDrainsAnew(tx);\n', ''),
  ),
  seenBy(
    'store/amnesia',
    'no machine is let go of',
    one(
      'lost-commits-found-by-passes-alone',
      3,
      'store/amnesia.ts',
      'select since is not null or ${isLeaseOlder(db)} as forgotten',
      'select since is not null as forgotten',
    ),
  ),
];
