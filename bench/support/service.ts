import { join } from 'node:path';
import { ServiceClient } from '../../src/commands/service-client.ts';
import type { BenchDatabase } from './database.ts';
import { BenchProcess, SPILLWAY } from './processes.ts';

/** A cold start compiles everything once. */
const START_MS = 60_000;

export interface RunningService {
  readonly process: BenchProcess;
  /** Where agents report. */
  readonly agentUrl: string;
  readonly client: ServiceClient;
}

export interface ServiceOptions {
  readonly database: BenchDatabase;
  readonly signal: AbortSignal;
  /** Beyond ports, places and owner, which are set here; everything else has the product's defaults. */
  readonly env: Readonly<Record<string, string>>;
}

/** `spillway serve` as users run it, on the database of the benchmark. The caller stops its process. */
export async function startService({ database, signal, env }: ServiceOptions): Promise<RunningService> {
  const socket = join(database.dataDir, 'spillway.sock');
  const service = new BenchProcess({
    name: 'the service',
    command: SPILLWAY,
    args: ['serve'],
    cwd: database.dataDir,
    env: {
      SPILLWAY_DATA_DIR: database.dataDir,
      SPILLWAY_LISTEN: '127.0.0.1:0',
      SPILLWAY_AGENT_LISTEN: '127.0.0.1:0',
      SPILLWAY_OWNER: 'bench',
      ...env,
    },
  });
  try {
    const [, agentUrl = ''] = await service.line(/"agents":"([^"]+)".*"serving/, START_MS, signal);
    return { process: service, agentUrl, client: new ServiceClient({ kind: 'socket', path: socket }, signal) };
  } catch (error) {
    await service.stop();
    throw error;
  }
}
