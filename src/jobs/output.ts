import { AppError } from '../model/errors.ts';
import type { MachineId } from '../model/ids.ts';
import { scrubText } from '../observability/redaction.ts';
import type { CommandResult } from '../ports/shell.ts';
import type { StepPorts } from './ports.ts';

/** Keeps what a command on a machine said, for whoever asks why it does not go on. */
export async function keepResult(
  ports: StepPorts,
  id: MachineId,
  phase: string,
  { exitCode, output }: Pick<CommandResult, 'exitCode' | 'output'>,
): Promise<void> {
  if (output === '' && exitCode === 0) return;
  await ports.machines.keepOutput(id, { phase, exitCode, content: scrubText(output) });
}

/** Keeps the console of an instance that did not join, if EC2 has it: it may be gone soon. */
export async function keepConsole(
  ports: StepPorts,
  { id, instanceId }: { readonly id: MachineId; readonly instanceId: string },
  region: string,
): Promise<void> {
  try {
    const text = await ports.cloud.consoleOutput(region, instanceId);
    // Escape sequences and NUL are of no use to a reader, and the database takes no NUL.
    const clean = text?.replaceAll(/[^\P{Cc}\n\t]/gu, '') ?? '';
    if (clean === '') return;
    await ports.machines.keepOutput(id, { phase: 'console', exitCode: null, content: scrubText(clean) });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    ports.log.warn({ machineId: id, code: error.code, error: error.message }, 'the console could not be kept');
  }
}
