import { AppError } from '../model/errors.ts';
import type { MachineId } from '../model/ids.ts';
import type { MachineIn } from '../model/machine.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { MachineRecord } from '../ports/machines.ts';
import type { CommandResult, ShellTarget } from '../ports/shell.ts';
import { keepResult } from './output.ts';
import type { StepPorts } from './ports.ts';
import { shellTarget, trustOf } from './ssh-target.ts';

export interface Hook {
  readonly policy: WorkloadPolicy;
  readonly command: string;
  readonly name: 'health' | 'checkpoint' | 'beforeDrain' | 'beforeTerminate' | 'ready';
  readonly deadlineMs: number;
}

/**
 * Runs a policy's command on a machine; true when it exited 0. Failures are logged with the end of the output; that it runs, and
 * how it failed last, is in the row for whoever asks what the machine waits for.
 */
export async function runHook(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'joining' | 'draining' | 'leaving'>,
  hook: Hook,
): Promise<boolean> {
  if (machine.privateIp === null) return false;
  await ports.machines.noteHook(machine.id, { name: hook.name });
  const trust = trustOf(ports, record, hook.policy);
  const problem =
    trust === null
      ? { says: 'nothing is known that the machine could prove', facts: {} }
      : await findProblem(
          ports,
          machine.id,
          shellTarget(ports, record, { ...machine, ...hook, address: machine.privateIp }, trust),
          hook,
        );
  await ports.machines.noteHook(machine.id, {
    name: null,
    error: problem === null ? null : `${hook.name}: ${problem.says}`,
  });
  if (problem !== null) {
    ports.log.warn({ machineId: machine.id, hook: hook.name, ...problem.facts }, 'hook failed');
  }
  return problem === null;
}

interface HookProblem {
  /** One line without output: that may hold anything. */
  readonly says: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

async function findProblem(
  ports: StepPorts,
  id: MachineId,
  target: ShellTarget,
  { command, deadlineMs, name }: Hook,
): Promise<HookProblem | null> {
  try {
    const result = await ports.shell.withSession(
      target,
      deadlineMs,
      async (session) => await session.runScript(`${command}\n`, { deadlineMs, outputBytesMax: 16 * 1024 }),
    );
    await keepResult(ports, id, name, result);
    return result.exitCode === 0 ? null : exitProblem(result);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { says: error.code, facts: { code: error.code, error: error.message } };
  }
}

function exitProblem({ exitCode, signal, output }: CommandResult): HookProblem {
  const says = exitCode === null ? `ended by ${signal ?? 'a signal'}` : `exit code ${exitCode}`;
  return { says, facts: { exitCode, output: output.slice(-500) } };
}
