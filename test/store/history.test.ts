import { sql } from 'kysely';
import { expect } from 'vitest';
import { readHistory } from '../../src/store/history.ts';
import { NOW_MS, WORKLOAD } from '../support/builders.ts';
import { test } from '../support/database.ts';

test('the past is read whole and once, whatever the pages cut apart', async ({ db }) => {
  // More than two pages, many of them submitted in one microsecond.
  await sql`insert into tasks (id, workload, command, cpu_milli, memory_mib, state, attempt, submitted_at, started_at, finished_at, exit_code)
    select 'tk-' || lpad(n::text, 12, '0'), ${WORKLOAD}, '["true"]', 1000, 1024, 'done', 1,
      ${new Date(NOW_MS)}::timestamptz + (n % 3) * interval '1 microsecond', ${new Date(NOW_MS)},
      ${new Date(NOW_MS)}::timestamptz + n * interval '1 millisecond', 0
    from generate_series(1, 45000) n`.execute(db);
  const request = { workload: WORKLOAD, fromMs: NOW_MS, toMs: NOW_MS + 1000, selector: {} };

  const { tasks } = await readHistory(db, request, new AbortController().signal);

  expect(new Set(tasks.map(({ ranMs }) => Math.round(ranMs ?? 0))).size).toBe(45_000);
  expect(tasks).toHaveLength(45_000);
});
