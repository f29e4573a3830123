import type { TestProject } from 'vitest/node';
import { startTestPostgres } from './postgres.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Superuser URL of the run's Postgres, database `postgres`. Tests take `databaseUrl` from `database.ts` instead. */
    postgresAdminUrl: string;
  }
}

/** One Postgres per run, in a folder of its own, with a migrated template to clone from. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startTestPostgres();
  project.provide('postgresAdminUrl', server.adminUrl);
  return async () => {
    if (process.env['SPILLWAY_TEST_KEEP'] === '1') {
      process.stderr.write(
        `SPILLWAY_TEST_KEEP=1: databases of failed tests stay at ${server.adminUrl} until the next run\n`,
      );
      return;
    }
    await server.stop();
  };
}
