/**
 * Whom to believe at the first log-in, and how the machine gets a key that nobody else ever had. The key that was injected has
 * been readable by everybody on the machine and by whoever may describe it: it is good for one log-in. In that log-in the machine makes a key of its
 * own, its public half is pinned in the row, and only then does sshd take it up: a crash at any point leaves a machine that
 * can prove either the pinned key or the one before.
 */
import { AppError } from '../model/errors.ts';
import { hostKeyOfConsole, onlyHostKeyIn } from '../model/host-keys.ts';
import type { MachineIn } from '../model/machine.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { waitMs } from '../model/waits.ts';
import type { MachineRecord } from '../ports/machines.ts';
import type { CommandResult, HostTrust, ShellSession, ShellTarget } from '../ports/shell.ts';
import { NO_KEYGEN_EXIT_CODE, NO_RIGHT_EXIT_CODE, type MachineDialect } from './dialect.ts';
import { machineDialect } from './dialects.ts';
import type { StepPorts } from './ports.ts';
import { hasInjectedKey, shellTarget, trustOf } from './ssh-target.ts';

/** Trying again changes neither. */
const NEVER_CODES: readonly number[] = [NO_RIGHT_EXIT_CODE, NO_KEYGEN_EXIT_CODE];

/** `trusted`: what the machine must prove in every session from now on. */
export type FirstContact =
  | { readonly kind: 'trusted'; readonly trust: HostTrust }
  /** Not yet known, or not yet done: look again. */
  | { readonly kind: 'later'; readonly waitsFor: string; readonly afterMs: number }
  /** It never will be. */
  | { readonly kind: 'failed'; readonly detail: Readonly<Record<string, unknown>> };

/** Finds out whom to believe on a machine, and replaces a key that was injected. Safe to repeat and to run twice at a time. */
export async function makeContact(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'joining'>,
  place: { readonly policy: WorkloadPolicy; readonly address: string },
): Promise<FirstContact> {
  const trust = trustOf(ports, record, place.policy);
  if (trust === null) return await askConsole(ports, record, machine);
  if (!hasInjectedKey(record) || record.hostKey?.confirmed === true) return { kind: 'trusted', trust };
  const target = shellTarget(ports, record, { ...place, instanceId: machine.instanceId }, trust);
  const dialect = machineDialect(place.policy);
  try {
    return await ports.shell.withSession(
      target,
      waitMs('ssh.rotate'),
      async (session) => await rotate(ports, record, machine, { session, dialect }),
    );
  } catch (error) {
    const offered = record.hostKey === null ? await readOffered(ports, target, error) : null;
    if (offered === null || !(await hasProof(ports, record, machine, { target, offered, dialect }))) throw error;
    const pinned = await ports.machines.pinHostKey(machine.id, offered);
    ports.log.warn(
      { machineId: machine.id },
      'its row had forgotten the host key of a machine; it has proved it again',
    );
    return { kind: 'trusted', trust: { kind: 'keys', keys: [pinned] } };
  }
}

/** In which shell. */
interface Told {
  readonly dialect: MachineDialect;
}

/** The key that was refused; null = it is not known, or something else went wrong. Only the transport in this process tells it. */
async function readOffered(ports: StepPorts, target: ShellTarget, error: unknown): Promise<string | null> {
  if (!(error instanceof AppError) || error.code !== 'SSH_HOST_KEY') return null;
  if (target.transport === 'ssh2') return offeredIn(error, target);
  try {
    await ports.shell.withSession({ ...target, transport: 'ssh2' }, waitMs('ssh.rotate'), async () => undefined);
    return null;
  } catch (again) {
    return again instanceof AppError ? offeredIn(again, target) : null;
  }
}

function offeredIn({ details }: AppError, { host, port }: ShellTarget): string | null {
  const { offeredKey } = details;
  // A jump host may be the one that was not believed.
  return details['host'] === `${host}:${port}` && typeof offeredKey === 'string' ? onlyHostKeyIn(offeredKey) : null;
}

/**
 * After lost commits the row does not know the key that the machine made. Whoever answers with a key that nobody knows is asked
 * for one thing: a proof that we made for this very key on this very machine. He hears nothing, and nothing else is read.
 */
async function hasProof(
  ports: StepPorts,
  { launch: { nonce } }: MachineRecord,
  { instanceId }: MachineIn<'joining'>,
  { target, offered, dialect }: { readonly target: ShellTarget; readonly offered: string } & Told,
): Promise<boolean> {
  const trust: HostTrust = { kind: 'keys', keys: [offered] };
  const shown = await ports.shell.withSession(
    { ...target, trust },
    waitMs('ssh.rotate'),
    async (session) => await run(session, dialect.proofOfHostKey),
  );
  return shown.output.trim() === ports.credentials.hostKeyProof({ nonce, instanceId, key: offered });
}

async function rotate(
  ports: StepPorts,
  record: MachineRecord,
  { id, instanceId }: MachineIn<'joining'>,
  { session, dialect }: { readonly session: ShellSession } & Told,
): Promise<FirstContact> {
  let pinned = record.hostKey?.key ?? null;
  if (pinned === null) {
    const prepared = await run(session, dialect.prepareHostKey);
    if (prepared.exitCode !== 0) return failed(ports, record, prepared);
    const made = onlyHostKeyIn(prepared.output);
    if (made === null) return failed(ports, record, prepared);
    pinned = await ports.machines.pinHostKey(id, made);
  }
  const proof = ports.credentials.hostKeyProof({ nonce: record.launch.nonce, instanceId, key: pinned });
  const activated = await run(session, dialect.activateHostKey(pinned, proof));
  if (activated.exitCode !== 0) return failed(ports, record, activated);
  return { kind: 'trusted', trust: { kind: 'keys', keys: [pinned] } };
}

async function run(session: ShellSession, script: string): Promise<CommandResult> {
  return await session.runScript(script, { deadlineMs: waitMs('ssh.rotate'), outputBytesMax: 16 * 1024 });
}

function failed(ports: StepPorts, { machine }: MachineRecord, result: CommandResult): FirstContact {
  const detail = {
    step: 'host key',
    exitCode: result.exitCode,
    signal: result.signal,
    output: result.output.slice(-2000),
  };
  ports.log.warn({ machineId: machine.id, ...detail }, 'the machine did not make a host key of its own');
  // Two joins at once may find each other's key half-way: the next try finds it whole.
  if (!NEVER_CODES.includes(result.exitCode ?? 0))
    return { kind: 'later', waitsFor: 'a host key of its own', afterMs: ports.timings.joinPollMs * 4 };
  return { kind: 'failed', detail };
}

/** What EC2 tells of the machine's console was printed by the machine, and comes by a way that only IAM opens. */
async function askConsole(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'joining'>,
): Promise<FirstContact> {
  const text = await ports.cloud.consoleOutput(record.launch.body.region, machine.instanceId);
  const said = hostKeyOfConsole(text);
  switch (said.kind) {
    case 'not-yet':
      // Minutes, mostly: EC2 fetches the console when the state of an instance changes. And calls are budgeted.
      return { kind: 'later', waitsFor: 'the host key on the console', afterMs: ports.timings.joinPollMs * 20 };
    case 'unfit': {
      const error = 'The console shows no Ed25519 host key, or different ones.';
      return { kind: 'failed', detail: { code: 'SSH_HOST_KEY', error } };
    }
    case 'found': {
      const pinned = await ports.machines.pinHostKey(machine.id, said.key);
      if (pinned !== said.key) {
        throw new AppError('SSH_HOST_KEY', `The console of ${machine.instanceId} shows another host key than before.`, {
          remedy: 'Look at the console output: somebody may have printed there what looks like a host key.',
        });
      }
      return { kind: 'trusted', trust: { kind: 'keys', keys: [pinned] } };
    }
  }
}
