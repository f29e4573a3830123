import { AppError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';
import type { Shell, ShellRoute, ShellTarget } from '../ports/shell.ts';
import { raceAbort } from './abort.ts';
import { nameOf } from './connect.ts';
import { createOpensshTransport } from './openssh-transport.ts';
import { createSsh2Transport } from './ssh2-transport.ts';
import type { OpenSession, Transport, TransportOptions } from './transport.ts';
import { createTurns } from './turns.ts';

export interface ShellLimits extends Omit<TransportOptions, 'agentSocket'> {
  /** How long a session waits for others to end. */
  readonly turnMs: number;
  /** Sessions at a time. */
  readonly sessionsMax: number;
  readonly sessionsPerHostMax: number;
}

/**
 * A log-in takes below 1 s; the numbers leave room for a machine that is still busy booting. Three keep-alives of 10 s notice
 * a vanished machine in 40 s, where TCP alone would wait for a quarter of an hour. sshd lets no more than ten log in at once
 * (MaxStartups), and a step needs one session.
 */
export const DEFAULT_SHELL_LIMITS: ShellLimits = Object.freeze({
  turnMs: waitMs('ssh.turn'),
  sessionsMax: 100,
  sessionsPerHostMax: 4,
  connectMs: waitMs('ssh.connect'),
  handshakeMs: waitMs('ssh.handshake'),
  loginMs: waitMs('ssh.login'),
  keepaliveMs: waitMs('ssh.keepalive'),
  keepalivesMax: 3,
  execMs: waitMs('ssh.exec'),
  uploadMs: waitMs('ssh.upload'),
  outputBytesMax: 1024 * 1024,
});

export interface ShellOptions {
  /** Those left out come from `DEFAULT_SHELL_LIMITS`. */
  readonly limits?: Partial<ShellLimits>;
  /** What SSH_AUTH_SOCK says; null = it is not set. */
  readonly agentSocket?: string | null;
}

/** SSH with keys only, hosts always verified, no agent forwarding, every wait bounded; over the transport that the target names. */
export function createShell({ limits: some = {}, agentSocket = null }: ShellOptions = {}): Shell {
  const limits: ShellLimits = { ...DEFAULT_SHELL_LIMITS, ...some };
  const transports = {
    ssh2: createSsh2Transport({ ...limits, agentSocket }),
    openssh: createOpensshTransport({ ...limits, agentSocket }),
  };
  const turns = createTurns({ allMax: limits.sessionsMax, perKeyMax: limits.sessionsPerHostMax });
  return {
    isOpen: async (route, deadlineMs) => await isOpen(transports[route.transport], route, deadlineMs),
    withSession: async (target, deadlineMs, use) => {
      const control = new AbortController();
      const phase: Phase = { connected: false };
      const timer = setTimeout(() => control.abort(lateError(target, deadlineMs, phase)), deadlineMs);
      const waiting = setTimeout(() => control.abort(turnError(target, limits.turnMs)), limits.turnMs);
      let turn: Disposable | null = null;
      let opened: OpenSession | null = null;
      try {
        turn = await turns.take(target.host, control.signal);
        clearTimeout(waiting);
        opened = await transports[target.transport].open(target, control);
        phase.connected = true;
        return await raceAbort(control.signal, use(opened.session));
      } finally {
        clearTimeout(waiting);
        clearTimeout(timer);
        // A `use` that goes on after its time finds every call refused.
        control.abort(closedError(target));
        await opened?.close();
        turn?.[Symbol.dispose]();
      }
    },
  };
}

interface Phase {
  connected: boolean;
}

/** False for refused, unreachable, unknown and silent alike. What a jump host does wrong is told. */
async function isOpen(transport: Transport, route: ShellRoute, deadlineMs: number): Promise<boolean> {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(lateError(route, deadlineMs, { connected: false })), deadlineMs);
  try {
    return await transport.isOpen(route, control);
  } catch (error) {
    if (error instanceof AppError && error.code === 'SSH_UNREACHABLE') return false;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function turnError(target: ShellTarget, turnMs: number): AppError {
  return new AppError('TIMEOUT', `No session with ${nameOf(target)} became free within ${turnMs} ms.`, {
    remedy: 'Nothing to do if it happens once: the step is repeated. Else see in the log which sessions take long.',
    details: { noTurn: true },
  });
}

function lateError(target: ShellRoute, deadlineMs: number, phase: Phase): AppError {
  if (!phase.connected) {
    return new AppError(
      'SSH_UNREACHABLE',
      `${nameOf(target)} did not complete an SSH connection in ${deadlineMs} ms.`,
      {
        remedy: 'Check the route and the security group (TCP from here to the SSH port), and the console output.',
      },
    );
  }
  return new AppError('TIMEOUT', `The SSH session with ${nameOf(target)} was not done within ${deadlineMs} ms.`, {
    remedy: 'See which step takes long in the log of the machine, or raise the deadline in the policy.',
  });
}

function closedError(target: ShellTarget): AppError {
  return new AppError('SSH_UNREACHABLE', `The SSH session with ${nameOf(target)} has been closed.`, {
    remedy: 'This session is over; open another one.',
  });
}
