import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCli } from './commands/run.ts';
import type { CliWiring, MigrationReport } from './commands/types.ts';
import type { Config } from './config/types.ts';
import type { Logger } from './observability/log.ts';

/**
 * The command line's composition root. Everything heavy (Postgres, AWS, HTTP server, zod) is imported by the command
 * that needs it, so that `spillway --help` and completion stay quick.
 */
const wiring: CliWiring = {
  readConfig: async () => (await import('./config/read-config.ts')).readConfig(process.env),
  sleep: async (ms, signal) => {
    await sleep(ms, undefined, { signal });
  },
  userName() {
    try {
      return userInfo().username;
    } catch {
      // A container may run under a number that has no name.
      return `uid ${process.getuid?.() ?? 'unknown'}`;
    }
  },
  confirm: async (question, signal) => {
    if (!process.stdin.isTTY || !process.stderr.isTTY) return null;
    const { createInterface } = await import('node:readline/promises');
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
      return /^y(es)?$/i.test((await terminal.question(question, { signal })).trim());
    } finally {
      terminal.close();
    }
  },
  runService: async (config) => (await import('./main.ts')).runService(config),
  migrate: migrateDatabase,
  readHistory: async (config, request, signal) =>
    await (await import('./wiring/history.ts')).openHistory(config, request, signal),
  openShell: async ({ sshAuthSock }) => (await import('./ssh/shell.ts')).createShell({ agentSocket: sshAuthSock }),
  readAgentScript: async () => await readFile(new URL('./agent/spillway-agent.sh', import.meta.url), 'utf8'),
  acceptNewHost: async (file, host) => await (await import('./ssh/accept-new.ts')).acceptNewHost(file, host),
  simulateRegion: async (options) => {
    const { runRegionUntilSignal } = await import('./simulator/run.ts');
    await runRegionUntilSignal(options);
    return 0;
  },
  simulateChaos: async (request, hooks) =>
    await (await import('./chaos/campaign.ts')).runCampaign({ ...request, ...hooks }),
};

/** Migrates the database of DATABASE_URL, or embedded Postgres, which is started for it and stopped again. */
async function migrateDatabase(config: Config, mode: 'apply' | 'check'): Promise<MigrationReport> {
  const { createLogger } = await import('./observability/log.ts');
  // The command says itself what it applied; progress of the parts is for those who ask for it.
  const level = config.origins['SPILLWAY_LOG_LEVEL'] === 'default' ? 'warn' : config.logLevel;
  const log = createLogger({ level, component: 'migrate' });
  if (config.databaseUrl !== null) return migrateUrl(config.databaseUrl, mode, log);
  const { startEmbeddedPostgres } = await import('./store/embedded-postgres.ts');
  const { systemClock, systemIds } = await import('./wiring/system.ts');
  const postgres = await startEmbeddedPostgres({ dataDir: config.dataDir, log, clock: systemClock, ids: systemIds });
  try {
    return await migrateUrl(postgres.url, mode, log);
  } finally {
    await postgres.stop();
  }
}

async function migrateUrl(url: string, mode: 'apply' | 'check', log: Logger): Promise<MigrationReport> {
  const { migrate, pendingMigrations } = await import('./store/migrate.ts');
  if (mode === 'check') return { applied: [], pending: await pendingMigrations(url) };
  return { applied: (await migrate(url, { log })).applied, pending: [] };
}

function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

// `spillway task list | head` closes our output early: that is how pipes end, not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const exitCode = await runCli(process.argv.slice(2), {
  streams: { stdout: process.stdout, stderr: process.stderr, env: process.env },
  wiring,
  nowMs: () => Date.now(),
  version: readVersion,
  onInterrupt(callback) {
    process.on('SIGINT', callback);
    return () => process.off('SIGINT', callback);
  },
});
// What was written must have left before the process ends: a file or terminal writes at once, a pipe may still hold some.
await Promise.all(
  [process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))),
);
process.exit(exitCode);
