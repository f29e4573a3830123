import { sql } from 'kysely';

import type { MachineId } from '../model/ids.ts';
import type { MachineOutput } from '../ports/machines.ts';
import type { MachineLogDocument } from '../ports/reports.ts';
import { dbNow, type Db, type Tx } from './database.ts';
import { toTimestamp } from './reports-shared.ts';

/** Of one piece, its end: the column takes 64 KiB, and a cut character is written as three bytes. */
const PIECE_BYTES_MAX = 60 * 1024;
/** Of one machine. */
const BYTES_MAX = 256 * 1024;
/** In one answer; a machine has some dozens. */
const PIECES_MAX = 1000;

/** See `MachineStore.keepOutput`. */
export async function keepOutput(tx: Tx, id: MachineId, { phase, exitCode, content }: MachineOutput): Promise<void> {
  const end = Buffer.from(content).subarray(-PIECE_BYTES_MAX).toString('utf8');
  const newest = await tx
    .selectFrom('machine_output')
    .select(['id', 'phase', 'exit_code', 'content'])
    .where('machine_id', '=', id)
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (newest !== undefined && newest.phase === phase && newest.exit_code === exitCode && newest.content === end) {
    await tx
      .updateTable('machine_output')
      .set((eb) => ({ times: eb('times', '+', 1), at: dbNow() }))
      .where('machine_id', '=', id)
      .where('id', '=', newest.id)
      .execute();
    return;
  }
  await tx
    .insertInto('machine_output')
    .values({ machine_id: id, at: dbNow(), phase, exit_code: exitCode, content: end })
    .execute();
  await sql`
    delete from spillway.machine_output o using (
      select id, sum(octet_length(content)) over (order by id desc) as bytes
      from spillway.machine_output where machine_id = ${id}) kept
    where o.machine_id = ${id} and o.id = kept.id and kept.bytes > ${BYTES_MAX}`.execute(tx);
}

/** What was said on a machine after a piece; null = there is no such machine. */
export async function readMachineLog(db: Db, id: MachineId, after: number): Promise<MachineLogDocument | null> {
  const machine = await db.selectFrom('machines').select('state').where('id', '=', id).executeTakeFirst();
  if (machine === undefined) return null;
  const rows = await db
    .selectFrom('machine_output')
    .select(['id', 'at', 'phase', 'exit_code', 'times', 'content'])
    .where('machine_id', '=', id)
    .where('id', '>', after)
    .orderBy('id')
    .limit(PIECES_MAX)
    .execute();
  const items = rows.map((row) => ({
    id: row.id,
    at: toTimestamp(row.at),
    phase: row.phase,
    exitCode: row.exit_code,
    times: row.times,
    content: row.content,
  }));
  return { items, ended: machine.state === 'terminated' };
}
