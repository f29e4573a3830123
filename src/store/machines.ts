import { sql } from 'kysely';

import type { AgentId, LaunchId, MachineId } from '../model/ids.ts';
import type { Launch, LaunchState } from '../model/launch.ts';
import { isTransition, STATE_DEADLINE_MS, type MachineRef, type MachineState } from '../model/machine.ts';
import type { CloudInstanceState } from '../ports/cloud.ts';
import type { DrainMark, MachineFacts, MachineRecord, MachineStore, Transition } from '../ports/machines.ts';
import type { WakeJob } from '../ports/queue.ts';
import { hasForgotten } from './amnesia.ts';
import { lockAgentsOf, setCordon } from './cordon.ts';
import { dbNow, dbNowPlus, inTransaction, toMs, type Db, type Tx } from './database.ts';
import { givenBack } from './give-back.ts';
import { createHostKeys } from './host-keys.ts';
import { writeMachineEvent } from './machine-events.ts';
import { markDrain, NO_HOOK, noteHook, takeTurn } from './drain-notes.ts';
import { keepOutput } from './machine-output.ts';
import { machineColumns, toMachine } from './machine-rows.ts';
import { isProtected } from './protection.ts';
import { recordStepFailure, wakeMachineAfter } from './step-rows.ts';
import { createTerminations } from './terminations.ts';
import { createWarmPool } from './warm-pool.ts';

/** Machines as rows; every change of state is a compare-and-set with its event in the same transaction. */
export function createMachineStore(db: Db): MachineStore {
  return {
    read: async (id) => await readMachine(db, id),
    readFacts: async (id) => await readMachineFacts(db, id),
    transition: async (machine, transition) =>
      await inTransaction(db, async (tx) => await transitionMachine(tx, machine, transition)),

    wakeAfter: async (id, ms, waitsFor = null) => await wakeMachineAfter(db, id, ms, waitsFor),
    recordFailure: async (id, failure) => await recordStepFailure(db, 'machines', id, failure),

    listDue: async (limit) => await listDue(db, limit),

    async markInstalled(id) {
      await db.updateTable('machines').set({ installed_at: dbNow() }).where('id', '=', id).execute();
    },

    ...createHostKeys(db),

    async markDrainIrrevocable(machine) {
      const row = await db
        .updateTable('machines')
        .set({ drain_irrevocable: true })
        .where('id', '=', machine.id)
        .where('revision', '=', machine.revision)
        .where('state', '=', machine.state)
        .returning('id')
        .executeTakeFirst();
      return row !== undefined;
    },

    markDrain: async (machine, mark) => await markDrain(db, machine, mark),
    takeTurn: async (machine) => await inTransaction(db, async (tx) => await takeTurn(tx, machine)),

    extendDeadline: async (machine, { ms, reason, detail }) =>
      await inTransaction(db, async (tx) => {
        const row = await tx
          .updateTable('machines')
          .set((eb) => ({
            deadline_at: dbNowPlus(ms),
            drain_extensions: eb('drain_extensions', '+', machine.state === 'draining' ? 1 : 0),
          }))
          .where('id', '=', machine.id)
          .where('revision', '=', machine.revision)
          .where('state', '=', machine.state)
          .returning('id')
          .executeTakeFirst();
        if (row === undefined) return false;
        await writeMachineEvent(tx, {
          machineId: machine.id,
          from: machine.state,
          to: machine.state,
          actor: 'machine-step',
          reason,
          detail,
        });
        return true;
      }),

    noteHook: async (id, note) => await noteHook(db, id, note),
    keepOutput: async (id, output) => await inTransaction(db, async (tx) => await keepOutput(tx, id, output)),

    ...createTerminations(db),
    ...createWarmPool(db, transitionMachine),

    issueEnrolment: async (id, tokenHash, labels, ttlMs) =>
      await inTransaction(db, async (tx) => {
        // Older ones stay good until they expire: the script of a join that was cut off may still be about to use its own.
        await tx
          .insertInto('enrolments')
          .values({
            token_hash: tokenHash,
            site: 'aws',
            machine_id: id,
            labels: JSON.stringify(labels),
            created_at: dbNow(),
            expires_at: dbNowPlus(ttlMs),
          })
          .execute();
      }),
  };
}

async function readMachine(db: Db, id: MachineId): Promise<MachineRecord | null> {
  const row = await selectMachine(db, id);
  if (row === undefined) return null;
  return {
    machine: toMachine(row),
    nowMs: toMs(row.now),
    launch: {
      id: row.launch_id as LaunchId,
      nonce: row.nonce,
      state: row.launch_state as Launch['state'],
      body: row.body as Launch['body'],
      createdAtMs: toMs(row.launch_created_at),
    },
    observed: observedOf(row),
    installedAtMs: toMs(row.installed_at),
    hostKey: row.host_key === null ? null : { key: row.host_key, confirmed: row.host_key_confirmed_at !== null },
    drainIrrevocable: row.drain_irrevocable,
    isProtected: row.is_protected,
    drainExtensions: row.drain_extensions,
    drainDone: row.drain_done as readonly DrainMark[],
    interruptedAtMs: toMs(row.interrupted_at),
    terminateAgainAtMs: toMs(row.terminate_again_at),
    run: { number: row.run, launchedAtMs: toMs(row.run_launch_time), stoppedAtMs: toMs(row.stopped_at) },
    amnesia: row.forgotten_since !== null,
    agent: agentFactsOf(row),
  };
}

async function readMachineFacts(db: Db, id: MachineId): Promise<MachineFacts | null> {
  const row = await selectMachine(db, id);
  if (row === undefined) return null;
  const state = row.state as MachineState;
  return {
    machine: { id, state, revision: row.revision, stateSinceMs: toMs(row.state_since) },
    nowMs: toMs(row.now),
    launchState: row.launch_state as LaunchState,
    instanceId: row.instance_id,
    region: (row.body as Partial<Launch['body']> | null)?.region ?? null,
    observed: observedOf(row),
    amnesia: row.forgotten_since !== null,
    agent: agentFactsOf(row),
  };
}

async function selectMachine(db: Db, id: MachineId) {
  return await db
    .selectFrom('machines as m')
    .innerJoin('launches as l', 'l.id', 'm.launch_id')
    .leftJoin('agents as a', (join) => join.onRef('a.machine_id', '=', 'm.id').on('a.removed_at', 'is', null))
    .select(machineColumns('m'))
    .select([
      'm.observed_state',
      'm.observed_at',
      'm.end_code',
      'm.missing_listings',
      'm.installed_at',
      'm.host_key',
      'm.host_key_confirmed_at',
      'm.drain_irrevocable',
      'm.drain_extensions',
      'm.drain_done',
      'm.interrupted_at',
      'm.terminate_again_at',
      'm.run',
      'm.run_launch_time',
      'm.stopped_at',
    ])
    .select(isProtected('m').as('is_protected'))
    .select(['l.nonce', 'l.state as launch_state', 'l.body', 'l.created_at as launch_created_at'])
    .select((eb) =>
      eb.selectFrom('amnesia as f').select('f.since').where('f.since', 'is not', null).as('forgotten_since'),
    )
    .select(['a.id as live_agent_id', 'a.last_seen_at', 'a.cordoned', 'a.cordon_acked_at', 'a.running_tasks'])
    .select(dbNow().as('now'))
    .select((eb) =>
      eb
        .selectFrom('tasks as t')
        .select(sql<number>`count(*)::int`.as('held'))
        .whereRef('t.agent_id', '=', 'a.id')
        .where('t.state', 'in', ['leased', 'running'])
        .as('held'),
    )
    .where('m.id', '=', id)
    .executeTakeFirst();
}

type SelectedMachine = NonNullable<Awaited<ReturnType<typeof selectMachine>>>;

function observedOf(row: SelectedMachine): MachineRecord['observed'] {
  return {
    state: row.observed_state as CloudInstanceState | null,
    atMs: toMs(row.observed_at),
    endCode: row.end_code,
    missingListings: row.missing_listings,
  };
}

function agentFactsOf(row: SelectedMachine): MachineRecord['agent'] {
  if (row.live_agent_id === null) return null;
  return {
    agentId: row.live_agent_id as AgentId,
    lastSeenAtMs: toMs(row.last_seen_at),
    cordoned: row.cordoned ?? false,
    cordonAckedAtMs: toMs(row.cordon_acked_at),
    runningTasks: row.running_tasks ?? 0,
    heldTasks: row.held ?? 0,
  };
}

/** Towards the end of an instance that lives. To `terminated` only EC2's word leads. */
const WAYS_OUT: ReadonlySet<MachineState> = new Set(['draining', 'leaving', 'stopping', 'terminating']);

/** Whatever ran on it before has ended: a new agent comes with the next join, if there is one. */
function losesAgent(from: MachineState, to: MachineState): boolean {
  // Of one that was launched, or was stopped in the rows, there is none.
  const isRestart = to === 'booting' && from !== 'launching' && from !== 'stopped';
  return to === 'stopped' || to === 'terminated' || isRestart;
}

/** Work may run on it that the rows have forgotten: nothing is sent away until they are rebuilt. */
async function isHeldBack(tx: Tx, to: MachineState): Promise<boolean> {
  return WAYS_OUT.has(to) && (await hasForgotten(tx));
}

/**
 * The one compare-and-set of a machine's state; shared by all stores that move machines. A drain that touched work is never
 * called off, whoever asks for it.
 */
export async function transitionMachine(tx: Tx, machine: MachineRef, transition: Transition): Promise<boolean> {
  if (!isTransition(machine.state, transition.to)) {
    throw new Error(`bug: machine ${machine.id} cannot go from ${machine.state} to ${transition.to}`);
  }
  const { to, actor, reason, planId, detail, cordon } = transition;
  if (!(await mayMove(tx, machine, transition))) return false;
  const row = await tx
    .updateTable('machines')
    .set((eb) => ({ ...columnsOf(transition), revision: eb('revision', '+', 1) }))
    .where('id', '=', machine.id)
    .where('state', '=', machine.state)
    .where('revision', '=', machine.revision)
    .$if(to === 'ready', (query) => query.where('drain_irrevocable', '=', false))
    .$if(transition.unlessProtected === true, (query) => query.where(sql<boolean>`not ${isProtected('machines')}`))
    .returning('agent_id')
    .executeTakeFirst();
  if (row === undefined) return false;
  if (cordon !== undefined && row.agent_id !== null) await setCordon(tx, row.agent_id, cordon);
  if (losesAgent(machine.state, to)) await forgetAgent(tx, machine.id);
  await writeMachineEvent(tx, { machineId: machine.id, from: machine.state, to, actor, reason, planId, detail });
  return true;
}

/** What else must hold, and locks on the agents, which come before the machine's own. */
async function mayMove(tx: Tx, { id, state }: MachineRef, { to, cordon, agentId }: Transition): Promise<boolean> {
  if (await isHeldBack(tx, to)) return false;
  if (cordon !== undefined || agentId !== undefined || losesAgent(state, to)) await lockAgentsOf(tx, [id]);
  return agentId === undefined || (await isAgentOf(tx, id, agentId));
}

/** A second join may have replaced the agent since the caller looked: the machine belongs to the agent that is there now. */
async function isAgentOf(tx: Tx, machineId: MachineId, agentId: AgentId): Promise<boolean> {
  const row = await tx
    .selectFrom('agents')
    .select('id')
    .where('id', '=', agentId)
    .where('machine_id', '=', machineId)
    .where('removed_at', 'is', null)
    .executeTakeFirst();
  return row !== undefined;
}

function columnsOf({ to, deadlineMs, endReason, agentId }: Transition) {
  const untilMs = to === 'terminated' ? null : (deadlineMs ?? STATE_DEADLINE_MS[to]);
  return {
    state: to,
    state_since: dbNow(),
    deadline_at: untilMs === null ? null : dbNowPlus(untilMs),
    wake_at: dbNow(),
    step_failures: 0,
    step_error: null,
    waits_for: null,
    waits_since: null,
    ...NO_HOOK,
    ...(to === 'draining' ? { drain_extensions: 0, drain_done: [] } : {}),
    power_again_at: null,
    // A drain that is called off leaves no reason to end behind, and neither does a stop that a start follows.
    ...(to === 'ready' || to === 'booting' ? { end_reason: null } : {}),
    ...(to === 'stopped' || to === 'booting' ? AFTER_RUN : {}),
    ...(endReason === undefined ? {} : { end_reason: endReason }),
    ...(agentId === undefined ? {} : { agent_id: agentId, idle_since: dbNow() }),
  };
}

/** Nothing of one run says anything of the next. */
const AFTER_RUN = { agent_id: null, idle_since: null, installed_at: null, drain_irrevocable: false } as const;

/** A machine without power has no agent: it is never offered work again, and what it held runs elsewhere. */
async function forgetAgent(tx: Tx, machineId: MachineId): Promise<void> {
  const agents = await tx
    .updateTable('agents')
    .set({ removed_at: dbNow() })
    .where('machine_id', '=', machineId)
    .where('removed_at', 'is', null)
    .returning('id')
    .execute();
  await sql`
    update spillway.tasks t set ${givenBack('t')}
    where t.agent_id = any(${agents.map(({ id }) => id)}::text[]) and t.state in ('leased', 'running')`.execute(tx);
}

async function listDue(db: Db, limit: number): Promise<readonly WakeJob[]> {
  const launches = await db
    .selectFrom('launches')
    .select(['id', 'wake_at'])
    .where('state', '=', 'open')
    .where('wake_at', '<=', dbNow())
    .orderBy('wake_at')
    .limit(limit)
    .execute();
  const machines = await db
    .selectFrom('machines')
    .select(['id', 'wake_at'])
    .where('state', '<>', 'terminated')
    .where('wake_at', '<=', dbNow())
    .orderBy('wake_at')
    .limit(limit)
    .execute();
  const due: { readonly job: WakeJob; readonly at: Date }[] = [
    ...launches.map((row) => ({ job: { kind: 'launch' as const, id: row.id as LaunchId }, at: row.wake_at })),
    ...machines.map((row) => ({ job: { kind: 'machine' as const, id: row.id as MachineId }, at: row.wake_at })),
  ];
  return due
    .sort((a, b) => toMs(a.at) - toMs(b.at))
    .slice(0, limit)
    .map(({ job }) => job);
}
