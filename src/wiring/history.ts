import type { Config } from '../config/types.ts';
import { createLogger } from '../observability/log.ts';
import type { History, HistoryRequest } from '../ports/history.ts';
import { createDatabase } from '../store/database.ts';
import { readHistory } from '../store/history.ts';
import { createPool } from '../store/pool.ts';
import { openDatabase } from './stores.ts';
import { translatingErrors } from './translate-errors.ts';

/** Reads the past from the configured database, whether or not a service runs. @throws AppError DATABASE_*, INPUT_INVALID */
export async function openHistory(config: Config, request: HistoryRequest, signal: AbortSignal): Promise<History> {
  const log = createLogger({ level: 'warn', component: 'backtest' });
  const database = await openDatabase(config, log);
  try {
    const pool = createPool(database.url, { applicationName: 'spillway-backtest', max: 1, log });
    try {
      const reader = translatingErrors({ read: async () => await readHistory(createDatabase(pool), request, signal) });
      return await reader.read();
    } finally {
      await pool.end();
    }
  } finally {
    await database.close();
  }
}
