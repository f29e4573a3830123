import { AppError } from '../../model/errors.ts';
import { waitMs } from '../../model/waits.ts';
import { NAME_KINDS, type NameKind } from '../../ports/names.ts';
import { parseDuration } from '../../model/units.ts';
import { didYouMean, parseUnit, usage } from '../options.ts';
import type { CommandSpec } from '../types.ts';

/**
 * Only these go to a shell: bash expands the words that it offers, so that a name with `$(...)` in it would be run by whoever
 * presses Tab.
 */
const PLAIN = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

export const completionNames: CommandSpec = {
  path: 'completion names',
  summary: 'Print names that the running service knows, one a line, as the completion scripts ask for them',
  description: `Nothing, and no error, when no service answers in time. Names with characters that a shell reads are left out.`,
  arguments: [
    { name: 'KIND', summary: NAME_KINDS.join(', ') },
    { name: 'PREFIX', summary: 'what they begin with', optional: true },
  ],
  options: [
    {
      name: 'timeout',
      value: 'DURATION',
      summary: 'how long the service may take',
      default: `${waitMs('cli.names')}ms`,
    },
  ],
  examples: [{ command: 'spillway completion names machines mc-7', summary: 'live machines whose ids begin so' }],
  output: 'none',
  async run({ args, options, output, client }) {
    const [kind = '', prefix = ''] = args;
    if (!isKind(kind)) throw usage(`there are no names of ${JSON.stringify(kind)}`, didYouMean(kind, NAME_KINDS));
    const requestMs = parseUnit('timeout', options.text('timeout') ?? '', parseDuration);
    try {
      const service = await client(requestMs);
      const { items } = await service.get<{ readonly items: readonly string[] }>('NameList', `/v1/names/${kind}`, {
        prefix,
      });
      for (const name of items) if (PLAIN.test(name)) output.raw(`${name}\n`);
    } catch (error) {
      // An error in the middle of a command line that somebody is writing helps nobody.
      if (!(error instanceof AppError)) throw error;
    }
    return 0;
  },
};

function isKind(text: string): text is NameKind {
  return (NAME_KINDS as readonly string[]).includes(text);
}
