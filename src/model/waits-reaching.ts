import { MINUTE_MS, SECOND_MS } from './time.ts';
import { LEASE_TTL_MS, type Wait } from './wait.ts';

const CONNECT_MS = 5 * SECOND_MS;
const STATEMENT_MS = 30 * SECOND_MS;
const QUEUE_STATEMENT_MS = 10 * SECOND_MS;
const EMBEDDED_STOP_MS = 20 * SECOND_MS;

/** Waits for what the service reaches: databases, queues, AWS, machines. */
export const REACHING_WAITS = {
  'dns.lookup': {
    ms: 5 * SECOND_MS,
    setBy: 'the connect wait of whoever asks',
    waitsFor: 'an address for a host name (getaddrinfo knows no limit of its own)',
    end: 'the connection counts as not made',
    code: 'DATABASE_UNREACHABLE',
  },

  'postgres.connect': {
    ms: 5 * SECOND_MS,
    waitsFor: 'a connection: a free one of the pool, or a new one with its log-in',
    end: 'the call fails',
    code: 'DATABASE_UNREACHABLE',
  },
  'postgres.statement': {
    ms: STATEMENT_MS,
    waitsFor: 'one statement',
    end: 'the server cancels it',
    code: 'TIMEOUT',
  },
  'postgres.answer': {
    ms: STATEMENT_MS + SECOND_MS,
    setBy: '`postgres.statement` + 1 s',
    waitsFor: 'a server that does not even cancel',
    end: 'the client drops the statement',
    code: 'DATABASE_UNREACHABLE',
  },
  'postgres.lock': {
    ms: 10 * SECOND_MS,
    waitsFor: 'a lock of a row or table',
    end: 'the transaction is rolled back and run again, five times at most',
    code: 'TIMEOUT',
  },
  'postgres.idle-transaction': {
    ms: LEASE_TTL_MS / 3,
    setBy: '`leader.lease` / 3: a stopped holder must not keep its locks for longer than its lease',
    waitsFor: 'the next statement of an open transaction',
    end: 'the server ends the connection and rolls back',
    code: 'DATABASE_UNREACHABLE',
  },
  'postgres.idle-connection': {
    ms: 30 * SECOND_MS,
    waitsFor: 'use of a connection in the pool',
    end: 'it is closed',
  },
  'postgres.listen-probe': {
    ms: 30 * SECOND_MS,
    waitsFor: 'word of new work, before the connection is asked whether it lives',
    end: 'a connection that does not answer within `postgres.answer` is opened again',
  },
  'migrate.statement': {
    ms: 10 * MINUTE_MS,
    waitsFor: 'one statement of a migration, such as an index on a large table',
    end: 'everything is rolled back',
    code: 'TIMEOUT',
  },
  'migrate.lock': {
    ms: MINUTE_MS,
    waitsFor: 'tables in use, or another process that migrates',
    end: 'everything is rolled back',
    code: 'TIMEOUT',
  },

  'embedded.program': {
    ms: 10 * SECOND_MS,
    waitsFor: '`postgres --version`',
    end: 'the program is killed',
    code: 'DATABASE_EMBEDDED',
  },
  'embedded.initdb': {
    ms: MINUTE_MS,
    waitsFor: '`initdb`, which takes a second',
    end: 'the program is killed and its folder removed',
    code: 'DATABASE_EMBEDDED',
  },
  'embedded.start': {
    ms: MINUTE_MS,
    waitsFor: 'a server that starts or recovers; recovery replays 256 MB at most',
    end: 'the start fails, with the last line of the log',
    code: 'DATABASE_EMBEDDED',
  },
  'embedded.connect': {
    ms: 5 * SECOND_MS,
    waitsFor: 'the embedded server to take one connection',
    end: 'it is knocked again, until `embedded.start` is over',
  },
  'embedded.stop': {
    ms: EMBEDDED_STOP_MS,
    waitsFor: 'the last checkpoint of the server',
    end: 'SIGQUIT: it recovers on its next start',
  },
  'embedded.quit': {
    ms: 5 * SECOND_MS,
    waitsFor: 'the end of the server after SIGQUIT',
    end: 'the stop fails and names the process',
    code: 'DATABASE_EMBEDDED',
  },
  'embedded.answer': {
    ms: EMBEDDED_STOP_MS + 5 * SECOND_MS,
    setBy: '`embedded.stop` + 5 s',
    waitsFor: 'an answer on the connection that keeps the server in use',
    end: 'the server counts as not answering',
  },

  'redis.connect': {
    ms: CONNECT_MS,
    waitsFor: 'a connection to Redis and its first answer',
    end: 'the start fails',
    code: 'QUEUE_UNREACHABLE',
  },
  'redis.command': {
    ms: 5 * SECOND_MS,
    waitsFor: 'the answer to one command',
    end: 'the call fails; rows ring again by themselves',
    code: 'QUEUE_UNREACHABLE',
  },
  'redis.silence': {
    ms: 30 * SECOND_MS,
    waitsFor: 'any word on the connection that waits for jobs; BullMQ asks every 10 s',
    end: 'it is closed and opened anew',
  },
  'queue.connect': {
    ms: CONNECT_MS,
    waitsFor: 'a connection of the queue to Postgres',
    end: 'the call fails',
    code: 'QUEUE_UNREACHABLE',
  },
  'queue.statement': {
    ms: QUEUE_STATEMENT_MS,
    waitsFor: 'one statement of the queue on Postgres',
    end: 'the server cancels it',
    code: 'QUEUE_UNREACHABLE',
  },
  'queue.answer': {
    ms: QUEUE_STATEMENT_MS + SECOND_MS,
    setBy: '`queue.statement` + 1 s',
    waitsFor: 'a server that does not even cancel',
    end: 'the client drops the statement',
    code: 'QUEUE_UNREACHABLE',
  },
  'queue.lock': {
    ms: QUEUE_STATEMENT_MS / 2,
    waitsFor: 'a lock of a row of the queue on Postgres',
    end: 'the statement fails',
    code: 'QUEUE_UNREACHABLE',
  },
  'queue.idle-transaction': {
    ms: QUEUE_STATEMENT_MS,
    waitsFor: 'the next statement of an open transaction of the queue',
    end: 'the server ends the connection and rolls back',
    code: 'QUEUE_UNREACHABLE',
  },
  'queue.idle-connection': {
    ms: 30 * SECOND_MS,
    waitsFor: 'use of a connection in the pool of the queue',
    end: 'it is closed',
  },
  'queue.wake-lock': {
    ms: 2 * SECOND_MS,
    waitsFor: 'a sign of life of the process that has a step in hand',
    end: 'the step is given to another one, at most half of the number later',
  },
  'queue.close': {
    ms: 5 * SECOND_MS,
    waitsFor: 'the workers and connections of the queue to close',
    end: 'they are left to the end of the process',
  },

  'aws.connect': {
    ms: 3 * SECOND_MS,
    waitsFor: 'TCP and TLS, per try',
    end: 'the try fails',
    code: 'AWS_UNREACHABLE',
  },
  'aws.request': {
    ms: 15 * SECOND_MS,
    setBy: 'SPILLWAY_AWS_REQUEST_TIMEOUT',
    waitsFor: 'the first byte of an answer, per try; a large RunInstances takes some 10 s',
    end: 'the try fails; a launch has an unknown outcome and repeats its token',
    code: 'AWS_UNREACHABLE',
  },
  'aws.call': {
    ms: MINUTE_MS,
    waitsFor: 'one call with its tries, credentials and the reading of its answer',
    end: 'the call fails; a launch has an unknown outcome and repeats its token',
    code: 'AWS_UNREACHABLE',
  },
  'aws.listing': {
    ms: 3 * MINUTE_MS,
    waitsFor: 'all pages of one listing',
    end: 'the listing is incomplete, and absence from it means nothing',
  },
  'aws.sign-launch': {
    ms: 20 * SECOND_MS,
    waitsFor: 'the signature of a launch call after its row was written, by the wall clock and the monotonic one',
    end: 'the call is not sent',
  },

  'ssh.probe': {
    ms: 2 * SECOND_MS,
    waitsFor: 'the SSH port to take a connection',
    end: 'it counts as closed and is tried again',
  },
  'ssh.probe-through': {
    ms: 15 * SECOND_MS,
    waitsFor: 'the SSH port to take a connection from a jump host, log-in there included',
    end: 'it counts as closed and is tried again',
  },
  'ssh.agent': {
    ms: 5 * SECOND_MS,
    waitsFor: 'the keys of the SSH agent that `join.ssh.identity.agent` names',
    end: 'the launch is not made',
    code: 'CONFIG_KEY_FILE',
  },
  'ssh.turn': {
    ms: MINUTE_MS,
    waitsFor: 'a session to become free: 100 at a time in all, 4 with one host',
    end: 'the session fails and is tried again',
    code: 'TIMEOUT',
  },
  'ssh.connect': {
    ms: 5 * SECOND_MS,
    waitsFor: 'a TCP connection to the SSH port, directly or from a jump host',
    end: 'the session fails',
    code: 'SSH_UNREACHABLE',
  },
  'ssh.handshake': {
    ms: 10 * SECOND_MS,
    waitsFor: 'greeting, key exchange and proof of the host key',
    end: 'the session fails',
    code: 'SSH_UNREACHABLE',
  },
  'ssh.login': {
    ms: 10 * SECOND_MS,
    waitsFor: 'the answer to our log-in',
    end: 'the session fails',
    code: 'SSH_UNREACHABLE',
  },
  'ssh.exec': {
    ms: 10 * SECOND_MS,
    waitsFor: 'the host to start a shell for a script',
    end: 'the script fails',
    code: 'TIMEOUT',
  },
  'ssh.keepalive': {
    ms: 10 * SECOND_MS,
    waitsFor: 'the answer to a keep-alive',
    end: 'after three without an answer the connection counts as lost',
    code: 'SSH_UNREACHABLE',
  },
  'ssh.upload': {
    ms: MINUTE_MS,
    waitsFor: 'all files of one upload',
    end: 'the upload fails',
    code: 'TIMEOUT',
  },
  'ssh.join': {
    ms: 4 * MINUTE_MS,
    waitsFor: 'one session that installs recipe and agent',
    end: 'the session is closed; the join is tried again until `join.ready.deadline`',
    code: 'TIMEOUT',
  },
  'ssh.keyscan': {
    ms: 10 * SECOND_MS,
    waitsFor: 'ssh-keyscan, where `agent install` is told to accept new hosts',
    end: 'it is killed; nothing is installed there',
    code: 'SSH_UNREACHABLE',
  },
  'ssh.rotate': {
    ms: MINUTE_MS,
    waitsFor: 'the first session, in which the machine makes a host key of its own',
    end: 'the session is closed; the join is tried again until `join.ready.deadline`',
    code: 'TIMEOUT',
  },
  'ssh.programs': {
    ms: 5 * SECOND_MS,
    waitsFor: 'the installed `ssh` to say which key exchanges it knows',
    end: 'the session fails',
    code: 'SSH_UNREACHABLE',
  },
  'ssh.end': {
    ms: SECOND_MS,
    waitsFor: 'a process of the installed `ssh` to end after SIGTERM',
    end: 'SIGKILL to it and to what it started',
  },
  'ssh.ready-command': {
    ms: 30 * SECOND_MS,
    waitsFor: '`join.ready.command`',
    end: 'the machine counts as not ready yet',
    code: 'TIMEOUT',
  },
  'ssh.hook': {
    ms: 9 * MINUTE_MS,
    waitsFor: 'a drain hook',
    end: 'the hook counts as failed',
    code: 'TIMEOUT',
  },
  'step.run': {
    ms: 30 * MINUTE_MS,
    waitsFor: 'one visit to a row, hooks included; every wait in it has a number of its own',
    end: 'the visit counts as failed, and the row gets another one',
    code: 'TIMEOUT',
  },
} as const satisfies Readonly<Record<string, Wait>>;
