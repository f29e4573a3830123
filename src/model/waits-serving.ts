import { HOUR_MS, MINUTE_MS, SECOND_MS } from './time.ts';
import { LEASE_TTL_MS, type Wait } from './wait.ts';

/** The longest hold of an answer for an agent, as `src/agent/PROTOCOL.md` has it. */
const HOLD_MS = 55 * SECOND_MS;

/** Waits for those who call the service, and for the service itself. */
export const SERVING_WAITS = {
  'agent-api.headers': { ms: 5 * SECOND_MS, waitsFor: 'the headers of a request', end: '408, closed' },
  'agent-api.request': { ms: 10 * SECOND_MS, waitsFor: 'the last byte of a request', end: '408, closed' },
  'agent-api.hold': {
    ms: HOLD_MS,
    waitsFor: 'something to tell an agent that asked to be held',
    end: 'it is answered that there is nothing new',
  },
  'agent-api.silence': {
    ms: HOLD_MS + 20 * SECOND_MS,
    setBy: '`agent-api.hold` + 20 s',
    waitsFor: 'any byte on a connection of an agent',
    end: 'closed',
  },
  'agent-api.idle': { ms: 5 * SECOND_MS, waitsFor: 'the next request on a connection', end: 'closed' },
  'agent-api.close': {
    ms: 5 * SECOND_MS,
    waitsFor: 'the answers under way when the service stops',
    end: 'whoever is still connected is cut off',
  },
  'operator-api.headers': { ms: 3 * SECOND_MS, waitsFor: 'the headers of a request', end: '408, closed' },
  'operator-api.request': { ms: 10 * SECOND_MS, waitsFor: 'the last byte of a request', end: '408, closed' },
  'operator-api.handler': {
    ms: 30 * SECOND_MS,
    waitsFor: 'an answer; a plan waits for prices of EC2',
    end: '503',
    code: 'TIMEOUT',
  },
  'operator-api.probe': {
    ms: 3 * SECOND_MS,
    waitsFor: 'what a health check or a scrape asks',
    end: '`/readyz` says 503 with what did not answer; gauges of the fleet are left out',
  },
  'operator-api.silence': { ms: MINUTE_MS, waitsFor: 'any byte on a connection', end: 'closed' },
  'operator-api.idle': { ms: 5 * SECOND_MS, waitsFor: 'the next request on a connection', end: 'closed' },
  'operator-api.close': {
    ms: 5 * SECOND_MS,
    waitsFor: 'the answers under way when the service stops',
    end: 'whoever is still connected is cut off',
  },

  'planner.proof': {
    ms: 4 * SECOND_MS,
    waitsFor: 'a solver that proves how far a shown plan is from the cheapest one',
    end: 'the thread is ended, and the plan shown without a proof',
  },

  'agent.connect': {
    ms: 5 * SECOND_MS,
    waitsFor: 'a connection of an agent to the service',
    end: 'the agent tries again later',
  },
  'agent.register': {
    ms: 20 * SECOND_MS,
    waitsFor: 'the answer to a registration',
    end: 'the agent tries again later',
  },
  'agent.log': {
    ms: 30 * SECOND_MS,
    waitsFor: 'the answer to a piece of a log',
    end: 'the agent sends it again',
  },
  'agent.report': {
    ms: 10 * SECOND_MS,
    setBy: 'the hold it asked for + this; never beyond its fence',
    waitsFor: 'the answer to a report',
    end: 'the agent tries again later',
  },

  'agent.imds': {
    ms: 2 * SECOND_MS,
    waitsFor: 'one answer of the instance metadata to an agent',
    end: 'the agent knows of no notice; without a token it asks again after a minute',
  },
  'agent.probe': {
    ms: 5 * SECOND_MS,
    waitsFor: "an agent's probe of other engines",
    end: 'it is killed; the agent says that nothing is known, which counts as a task',
  },
  'agent.dead-man': {
    ms: HOUR_MS,
    setBy: '`join.deadMan.after` of the policy',
    waitsFor: 'an accepted report of an agent in the cloud',
    end: 'the agent shuts its machine down, see `join.deadMan.whileTasksRun`; EC2 then terminates it',
  },

  'leader.lease': {
    ms: LEASE_TTL_MS,
    waitsFor: 'a renewal, by the clock of the database',
    end: 'another process may lead',
  },
  'leader.renewal': {
    ms: LEASE_TTL_MS / 3,
    waitsFor: 'the next renewal of the lease by its holder, from the one before',
    end: 'nothing is decided before the lease was renewed',
  },
  'leader.mandate': {
    ms: (LEASE_TTL_MS * 2) / 3,
    waitsFor: 'a renewal, by the wall clock and the monotonic one of the holder',
    end: 'the holder decides nothing more, and what it has read counts no more',
  },
  'leader.stall': {
    ms: LEASE_TTL_MS / 3,
    waitsFor: 'one turn of the event loop',
    end: 'the process ends itself (SIGKILL)',
  },

  'service.socket-answer': {
    ms: SECOND_MS,
    waitsFor: 'another service to answer on the socket that is to be listened on',
    end: 'the socket counts as left over and is replaced',
  },
  'service.stop-steps': {
    ms: 10 * SECOND_MS,
    waitsFor: 'the steps under way when the service stops',
    end: 'they are cut short and taken up by the next start',
  },
  'service.stop-part': {
    ms: 15 * SECOND_MS,
    waitsFor: 'one part of the service to stop, such as a loop in the middle of a turn',
    end: 'it is left behind, and the next part is stopped',
  },
  'service.stop-database': {
    ms: 30 * SECOND_MS,
    waitsFor: 'the embedded Postgres to stop, see `embedded.stop`',
    end: 'it goes on, and the next start adopts it',
  },
  'service.stop': {
    ms: MINUTE_MS,
    waitsFor: 'everything to stop after the first SIGTERM or SIGINT; a second one is not waited for at all',
    end: 'the process ends as it is, and the next start takes up what is left',
  },
  'cli.request': {
    ms: MINUTE_MS,
    waitsFor: 'the answer of the service to a command',
    end: 'the command fails',
    code: 'TIMEOUT',
  },

  'cli.names': {
    ms: 300,
    setBy: '`spillway completion names --timeout`',
    waitsFor: 'names that complete a command line',
    end: 'there are none to choose from',
  },

  'cli.install-report': {
    ms: MINUTE_MS,
    setBy: '`spillway agent install --timeout`',
    waitsFor: 'the first report of an agent that was installed',
    end: 'the command fails; the agent stays and goes on trying',
    code: 'TIMEOUT',
  },

  'simulator.headers': { ms: 10 * SECOND_MS, waitsFor: 'the headers of a request to the region', end: '408, closed' },
  'simulator.request': { ms: 15 * SECOND_MS, waitsFor: 'the last byte of a request', end: '408, closed' },
  'simulator.idle': {
    ms: 65 * SECOND_MS,
    waitsFor: 'the next request on a connection; longer than the pauses of a loop',
    end: 'closed',
  },
  'simulator.login': { ms: 20 * SECOND_MS, waitsFor: 'a log-in at a simulated host', end: 'closed' },
  'simulator.sshd-start': { ms: 5 * SECOND_MS, waitsFor: 'sshd of a simulated host to listen', end: 'the host fails' },
  'simulator.sshd-stop': { ms: 2 * SECOND_MS, waitsFor: 'sshd to end after SIGTERM', end: 'SIGKILL' },
  'simulator.processes': {
    ms: 2 * SECOND_MS,
    waitsFor: 'the killed processes of an instance to be gone',
    end: 'it is told that some are left',
  },
} as const satisfies Readonly<Record<string, Wait>>;
