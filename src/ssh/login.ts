import ssh2 from 'ssh2';
import { AppError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';
import type { StandingLogin } from '../ports/shell.ts';
import { fromCallback, raceAbort } from './abort.ts';
import { readIdentity, readPublicKey } from './public-key.ts';

/** Keys or an agent, in the form that ssh2 takes. Nothing else is ever offered: no `none`, no password, no question. */
export type LoginOptions =
  | { readonly authHandler: ['publickey']; readonly privateKey: string }
  | { readonly authHandler: ['agent']; readonly agent: string };

/** What to log in with. @throws AppError CONFIG_KEY_FILE */
export async function readLogin(login: StandingLogin, defaultSocket: string | null): Promise<LoginOptions> {
  if (login.kind === 'file')
    return { authHandler: ['publickey'], privateKey: (await readIdentity(login.file)).privateKey };
  return { authHandler: ['agent'], agent: socketOf(login, defaultSocket) };
}

/** The socket of the agent. @throws AppError CONFIG_KEY_FILE */
export function socketOf(login: Extract<StandingLogin, { kind: 'agent' }>, defaultSocket: string | null): string {
  const socket = login.socket ?? defaultSocket;
  if (socket !== null) return socket;
  throw new AppError('CONFIG_KEY_FILE', 'The policy logs in with an SSH agent, and SSH_AUTH_SOCK is not set.', {
    remedy: 'Set SSH_AUTH_SOCK for the service, or write the path of the socket as join.ssh.identity.agent.',
  });
}

type AgentKeys = Parameters<Parameters<ssh2.OpenSSHAgent['getIdentities']>[0]>[1];

/** The public key line of what we log in with; of an agent the first key it has. @throws AppError CONFIG_KEY_FILE */
export async function loginPublicKey(
  login: StandingLogin,
  defaultSocket: string | null,
  agentMs = waitMs('ssh.agent'),
): Promise<string> {
  if (login.kind === 'file') return await readPublicKey(login.file);
  const socket = socketOf(login, defaultSocket);
  try {
    const asked = fromCallback<AgentKeys>((done) => new ssh2.OpenSSHAgent(socket).getIdentities(done));
    const [first] = (await raceAbort(AbortSignal.timeout(agentMs), asked)) ?? [];
    if (first === undefined) throw new Error('it has no keys');
    // Its types know another form, which is what other agents than OpenSSH's give.
    if ('pubKey' in first) throw new Error('it is no agent as OpenSSH has it');
    return `${first.type} ${first.getPublicSSH().toString('base64')}`;
  } catch (cause) {
    throw new AppError('CONFIG_KEY_FILE', `The SSH agent at ${socket} gives no key to log in with.`, {
      remedy: 'Start the agent, give the user that runs Spillway access to its socket, and add a key with ssh-add.',
      cause,
    });
  }
}
