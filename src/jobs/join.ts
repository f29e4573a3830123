import { basename } from 'node:path';
import { AppError } from '../model/errors.ts';
import type { MachineIn } from '../model/machine.ts';
import { DEAD_MAN_DEFAULT } from '../model/policy.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import { scrubText } from '../observability/redaction.ts';
import type { MachineRecord } from '../ports/machines.ts';
import type { CommandResult, ShellTarget, UploadFile } from '../ports/shell.ts';
import { JOIN_BUSY_EXIT_CODE } from './dialect.ts';
import { machineDialect } from './dialects.ts';
import { makeContact } from './first-contact.ts';
import { runHook } from './hooks.ts';
import { keepConsole, keepResult } from './output.ts';
import { again, NO_POLICY, type StepOutcome, type StepPorts } from './ports.ts';
import { shellTarget } from './ssh-target.ts';
import { isPastDeadline, startTerminating } from './terminate.ts';

/** An agent that was started answers within a second or two; after this long it is installed anew. */
const INSTALL_AGAIN_MS = 30 * SECOND_MS;
/** One connection with upload, recipe and start; the machine's own join deadline is the outer bound. */
const SESSION_MS = waitMs('ssh.join');

const FIRST_REPORT = 'the first report of its agent, which was started';
const BUSY = 'another join on it to end, or its recipe to pass (exit code 75)';

/** Installs recipe and agent over SSH, and calls the machine ready only when its agent's own report has arrived. */
export async function stepJoining(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'joining'>,
): Promise<StepOutcome> {
  if (isPastDeadline(record)) return await giveUpJoin(ports, record, machine, { reason: 'join-deadline', detail: {} });
  const policy = await ports.readPolicy(machine.workload);
  if (policy === null) return again(ports.timings.joinPollMs, NO_POLICY);
  if (machine.privateIp === null) return again(ports.timings.joinPollMs, 'EC2 to tell its address');
  if (record.agent !== null && record.agent.lastSeenAtMs !== null) {
    return await becomeReady(ports, record, machine, policy);
  }
  if (record.installedAtMs !== null && record.nowMs - record.installedAtMs < INSTALL_AGAIN_MS) {
    return again(ports.timings.joinPollMs, FIRST_REPORT);
  }
  return await install(ports, record, machine, { policy, address: machine.privateIp });
}

async function becomeReady(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'joining'>,
  policy: WorkloadPolicy,
): Promise<StepOutcome> {
  const { command } = policy.join.ready;
  if (command !== null) {
    const hook = { policy, command, name: 'ready' as const, deadlineMs: waitMs('ssh.ready-command') };
    if (!(await runHook(ports, record, machine, hook))) {
      return again(ports.timings.joinPollMs, 'its ready command to pass');
    }
  }
  if (record.agent === null) return again(ports.timings.joinPollMs);
  const moved = await ports.machines.transition(machine, {
    to: 'ready',
    actor: 'machine-step',
    reason: 'agent-reported',
    agentId: record.agent.agentId,
    deadlineMs: null,
  });
  if (moved) {
    await ports.launches.noteJoin(machine.id, 'joined');
    // How long launches take: a machine that was stopped and started takes another time.
    if (record.run.number === 1) ports.meter.joined(record.nowMs - machine.createdAtMs);
    ports.log.info({ machineId: machine.id, agentId: record.agent.agentId }, 'machine is ready');
    ports.wakePlanner();
  }
  return again(0);
}

async function install(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'joining'>,
  place: { readonly policy: WorkloadPolicy; readonly address: string },
): Promise<StepOutcome> {
  try {
    const contact = await makeContact(ports, record, machine, place);
    if (contact.kind === 'failed') {
      return await giveUpJoin(ports, record, machine, { reason: 'join-failed', detail: contact.detail });
    }
    if (contact.kind === 'later') {
      ports.log.info({ machineId: machine.id, waitsFor: contact.waitsFor }, 'join waits');
      return again(contact.afterMs, contact.waitsFor);
    }
    const target = shellTarget(ports, record, { ...place, instanceId: machine.instanceId }, contact.trust);
    return await installAgent(ports, record, machine, { policy: place.policy, target });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'SSH_HOST_KEY' && (await hasNewKey(ports, record))) return again(ports.timings.joinPollMs);
    return await afterSshError(ports, record, machine, error);
  }
}

/** Another delivery of this step pinned a key since the row was read: the machine may show it by now, and rightly. */
async function hasNewKey(ports: StepPorts, { machine, hostKey }: MachineRecord): Promise<boolean> {
  const now = await ports.machines.read(machine.id);
  return now !== null && now.hostKey?.key !== hostKey?.key;
}

async function installAgent(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'joining'>,
  { policy, target }: { readonly policy: WorkloadPolicy; readonly target: ShellTarget },
): Promise<StepOutcome> {
  const result = await ports.shell.withSession(target, SESSION_MS, async (session): Promise<CommandResult> => {
    // It has proved the pinned key: no other is good from here on. Secrets come after.
    const [only] = target.trust.kind === 'keys' ? target.trust.keys : [];
    if (only !== undefined) await ports.machines.confirmHostKey(machine.id, only);
    const files = await joinFiles(ports, machine, policy);
    await session.upload(files);
    return await session.runScript(machineDialect(policy).joinScript, {
      deadlineMs: SESSION_MS,
      outputBytesMax: 64 * 1024,
    });
  });
  if (result.exitCode === JOIN_BUSY_EXIT_CODE) return again(ports.timings.joinPollMs * 4, BUSY);
  await keepResult(ports, machine.id, 'join', result);
  if (result.exitCode !== 0) return await failInstall(ports, record, machine, result);
  await ports.machines.markInstalled(machine.id);
  return again(ports.timings.joinPollMs, FIRST_REPORT);
}

/** What follows when a machine, or a host on the way to it, could not be logged in to. */
export async function afterSshError(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'booting' | 'joining'>,
  error: AppError,
): Promise<StepOutcome> {
  const facts = { machineId: machine.id, code: error.code, error: error.message };
  // A wrong host key is never tried again: either the machine is not ours, or someone stands between.
  if (error.code === 'SSH_HOST_KEY') {
    ports.log.error({ ...facts, ...error.details, remedy: error.remedy }, 'a host proved another key than it should');
    return await giveUpJoin(ports, record, machine, {
      reason: 'join-failed',
      detail: { code: error.code, error: error.message, ...error.details },
    });
  }
  ports.log.warn(facts, 'join did not succeed');
  // Of what an operator has to mend. While it boots a machine is unreachable, and that says nothing.
  if (error.code !== 'SSH_UNREACHABLE') {
    const content = scrubText(`${error.code}: ${error.message}\n${error.remedy}\n`);
    await ports.machines.keepOutput(machine.id, { phase: 'log-in', exitCode: null, content });
  }
  return again(ports.timings.joinPollMs * 4, reasonToWait(error));
}

/** In one line without secrets: `machine show` has it. */
function reasonToWait({ code, message, details }: AppError): string {
  if (details['noTurn'] === true) return 'its turn among the SSH sessions, which are all taken';
  return `an SSH session that works (${code}: ${scrubText(message).replaceAll(/\s+/g, ' ')})`;
}

async function failInstall(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'joining'>,
  result: CommandResult,
): Promise<StepOutcome> {
  const detail = { exitCode: result.exitCode, signal: result.signal, output: scrubText(result.output).slice(-2000) };
  ports.log.warn({ machineId: machine.id, ...detail }, 'recipe failed');
  return await giveUpJoin(ports, record, machine, { reason: 'join-failed', detail });
}

interface GivenUp {
  readonly reason: 'join-failed' | 'join-deadline';
  readonly detail: Readonly<Record<string, unknown>>;
}

/** The machine ends; when it was not the first of its kind, no further ones are bought for a while. */
async function giveUpJoin(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'booting' | 'joining'>,
  { reason, detail }: GivenUp,
): Promise<StepOutcome> {
  const outcome = await startTerminating(ports, machine, reason, detail);
  await ports.launches.noteJoin(machine.id, 'failed');
  await keepConsole(ports, machine, record.launch.body.region);
  return outcome;
}

function deadManSettings({ join }: WorkloadPolicy): readonly string[] {
  const { deadMan = DEAD_MAN_DEFAULT } = join;
  if (deadMan === null) return [];
  const seconds = Math.ceil(deadMan.afterMs / SECOND_MS);
  return [`SPILLWAY_DEADMAN_S=${seconds}`, `SPILLWAY_DEADMAN_TASKS=${deadMan.whileTasksRun ? 1 : 0}`];
}

async function joinFiles(
  ports: StepPorts,
  machine: MachineIn<'joining'>,
  policy: WorkloadPolicy,
): Promise<readonly UploadFile[]> {
  const { recipe, ready } = policy.join;
  const token = ports.ids.hex(32);
  // Lives as long as the join may take; burnt at first use.
  await ports.machines.issueEnrolment(
    machine.id,
    ports.credentials.sha256(token),
    { workload: machine.workload },
    ready.deadlineMs,
  );
  // The agent reads these lines itself; none is ever run by a shell.
  const settings = [
    `SPILLWAY_URL=${ports.agent.serviceUrl}`,
    `SPILLWAY_ALLOW_HTTP=${ports.agent.allowHttp ? 1 : 0}`,
    `SPILLWAY_ENROL_TOKEN=${token}`,
    `SPILLWAY_NAME=${machine.id}`,
    ...deadManSettings(policy),
    // Only spot machines are taken back.
    ...(machine.market === 'spot' ? ['SPILLWAY_IMDS=http://169.254.169.254'] : []),
  ];
  const { places, helpers, content } = machineDialect(policy);
  const shell = recipe.shell ?? 'sh';
  const files: UploadFile[] = [
    { path: places.agent, content: ports.agent.scripts[shell], mode: 0o700 },
    { path: '.spillway/agent.settings', content: `${settings.join('\n')}\n`, mode: 0o600 },
    ...helpers,
  ];
  if (recipe.script !== null) {
    files.push({ path: places.recipe, content: await ports.agent.readRecipe(recipe.script), mode: 0o700 });
    files.push({ path: places.env, content: ports.agent.renderEnv(recipe.env, shell), mode: 0o600 });
    for (const file of recipe.files ?? []) {
      files.push({
        path: `.spillway/recipe/${basename(file)}`,
        content: await ports.agent.readRecipe(file),
        mode: 0o700,
      });
    }
  }
  return files.map((file) => ({ ...file, content: content(file.path, file.content) }));
}
