/** One session, for a test that puts this process into a network of its own: does as it is told, and says what came of it. */
import { AppError } from '../../src/model/errors.ts';
import type { ShellTarget, UploadFile } from '../../src/ports/shell.ts';
import { createShell, type ShellLimits } from '../../src/ssh/shell.ts';

export interface SessionOrder {
  readonly target: ShellTarget;
  readonly files: readonly UploadFile[];
  readonly script: string;
  readonly limits: Partial<ShellLimits>;
}

export type SessionWord = { readonly output: string } | { readonly code: string; readonly message: string };

/** Long beside every limit that a test sets: whoever runs into it has not noticed what it should. */
const DEADLINE_MS = 50_000;

const { target, files, script, limits } = JSON.parse(process.argv[2] ?? '{}') as SessionOrder;
process.stdout.write(JSON.stringify(await work()));

async function work(): Promise<SessionWord> {
  try {
    return await createShell({ limits }).withSession(target, DEADLINE_MS, async (session) => {
      if (files.length > 0) await session.upload(files);
      const { output } = await session.runScript(script, { deadlineMs: DEADLINE_MS });
      return { output };
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { code: error.code, message: error.message };
  }
}
