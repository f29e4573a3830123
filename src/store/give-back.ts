import { sql, type RawBuilder } from 'kysely';

/**
 * How often a task may be interrupted while it runs. Interruptions are normal, ten of one task are not: it takes its machines down
 * with it (out of memory, a poison input), and giving it out for ever would cost machine after machine.
 */
const INTERRUPTIONS_MAX = 10;
/** An order that never reached its agent costs nothing, but not without end. */
const ATTEMPTS_MAX = 100;

/**
 * The `set` list that takes a task back from its agent: to be given out anew, or ended as failed, without an exit code, when
 * that happened too often. `alias` is the table's name in the statement.
 */
export function givenBack(alias: string): RawBuilder<unknown> {
  const interruptions = sql`${sql.ref(`${alias}.interruptions`)} + (${sql.ref(`${alias}.state`)} = 'running')::int`;
  const attempt = sql.ref(`${alias}.attempt`);
  const isSpent = sql`(${interruptions} >= ${sql.lit(INTERRUPTIONS_MAX)} or ${attempt} >= ${sql.lit(ATTEMPTS_MAX)})`;
  return sql`
    interruptions = ${interruptions},
    state = case when ${isSpent} then 'failed' else 'pending' end,
    finished_at = case when ${isSpent} then spillway.now() end,
    agent_id = null, lease_token = null, lease_expires_at = null, pending_since = spillway.now()`;
}
