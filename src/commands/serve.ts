import type { CommandSpec } from './types.ts';

export const serve: CommandSpec = {
  path: 'serve',
  summary: 'Run the service: planner, workers, agent API and operator API',
  description:
    'Keeps running until SIGTERM or Ctrl-C; a second one does not wait for the stop. The fleet is left as it is; the next start takes up every machine where it stood.',
  examples: [
    { command: 'spillway serve', summary: 'with embedded Postgres and policies/ of the current folder' },
    { command: 'DATABASE_URL=postgres://spillway@db/spillway spillway serve', summary: 'with a Postgres of your own' },
  ],
  output: 'none',
  seeAlso: ['status', 'migrate', 'config show'],
  ownsSignals: true,
  async run({ wiring }) {
    return wiring.runService(await wiring.readConfig());
  },
};
