import { AppError } from '../model/errors.ts';
import type { MachineIn } from '../model/machine.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { MachineRecord } from '../ports/machines.ts';
import type { StepPorts } from './ports.ts';
import { shellTarget, trustOf } from './ssh-target.ts';

export interface Hook {
  readonly policy: WorkloadPolicy;
  readonly command: string;
  readonly name: 'beforeDrain' | 'beforeTerminate' | 'ready';
  readonly deadlineMs: number;
}

/** Runs a policy's command on a machine; true when it exited 0. Failures are logged with the end of the output. */
export async function runHook(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'joining' | 'draining' | 'leaving'>,
  hook: Hook,
): Promise<boolean> {
  const facts = { machineId: machine.id, hook: hook.name };
  if (machine.privateIp === null) return false;
  try {
    const trust = trustOf(ports, record, hook.policy);
    if (trust === null) {
      ports.log.warn(facts, 'hook could not run: nothing is known that the machine could prove');
      return false;
    }
    const target = shellTarget(hook.policy, machine.privateIp, trust);
    const result = await ports.shell.withSession(
      target,
      hook.deadlineMs,
      async (session) =>
        await session.runScript(`${hook.command}\n`, { deadlineMs: hook.deadlineMs, outputBytesMax: 16 * 1024 }),
    );
    if (result.exitCode === 0) return true;
    ports.log.warn({ ...facts, exitCode: result.exitCode, output: result.output.slice(-500) }, 'hook failed');
    return false;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    ports.log.warn({ ...facts, code: error.code, error: error.message }, 'hook could not run');
    return false;
  }
}
