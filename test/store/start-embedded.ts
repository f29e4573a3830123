/** A process for tests to kill: starts the embedded Postgres in the folder of its argument, writes a row, tells the URL. */
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { quietLog } from '../support/log.ts';
import { withClient } from '../support/postgres.ts';

const dataDir = process.argv[2];
if (dataDir === undefined) throw new Error('usage: start-embedded.ts DATA_DIR');
const server = await startEmbeddedPostgres({
  dataDir,
  log: quietLog,
  clock: realClock,
  ids: randomIds,
  durable: false,
});
await withClient(server.url, (client) => client.query('create table written_before_the_kill as select 1 as value'));
process.send?.(server.url);
