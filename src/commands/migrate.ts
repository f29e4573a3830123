import { EXIT_CHANGES } from './exit-codes.ts';
import type { CommandSpec } from './types.ts';

export const migrate: CommandSpec = {
  path: 'migrate',
  summary: "Bring the database's tables up to this version",
  description:
    'Works on DATABASE_URL, or on embedded Postgres when that is not set. Applies everything that is missing or nothing. Safe to repeat and to run while the version before serves.',
  options: [{ name: 'check', summary: 'change nothing; exit 10 when something is missing' }],
  examples: [
    { command: 'spillway migrate', summary: 'apply what is missing' },
    { command: 'spillway migrate --check', summary: 'in a deployment script: is there anything to do?' },
  ],
  output: 'object',
  exitCodes: [EXIT_CHANGES],
  seeAlso: ['serve'],
  async run({ wiring, options, output }) {
    const check = options.isSet('check');
    const report = await wiring.migrate(await wiring.readConfig(), check ? 'check' : 'apply');
    await output.object('MigrationReport', report, () => {
      report.applied.forEach((name) => output.line(`applied ${name}`));
      report.pending.forEach((name) => output.line(`pending ${name}`));
      if (report.applied.length + report.pending.length === 0)
        output.hint('nothing to apply: the database is up to date');
    });
    return check && report.pending.length > 0 ? EXIT_CHANGES : 0;
  },
};
