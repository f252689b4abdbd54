import type { Db, Tx } from '../../db/database.ts';

/** An account with which a target is tested, which may exist in it. */
export interface PreflightAccount {
  accountName: string;
  connectionId: string;
  /** After this instant no process makes the account any more. */
  deadlineAt: Date;
  attempts: number;
}

export async function insertPreflight(
  db: Db,
  account: Omit<PreflightAccount, 'attempts'> & { nextAttemptAt: Date },
): Promise<void> {
  await db
    .insertInto('preflights')
    .values({
      account_name: account.accountName,
      connection_id: account.connectionId,
      deadline_at: account.deadlineAt,
      next_attempt_at: account.nextAttemptAt,
    })
    .execute();
}

/** Deletes the record of an account that is gone. */
export async function deletePreflight(db: Db, accountName: string): Promise<void> {
  await db.deleteFrom('preflights').where('account_name', '=', accountName).execute();
}

/** Returns the accounts that a crash or a failure may have left, and postpones their next attempt. */
export async function takeLeftPreflights(
  tx: Tx,
  { now, nextAttemptAt, limit }: { now: Date; nextAttemptAt: Date; limit: number },
): Promise<PreflightAccount[]> {
  const rows = await tx
    .updateTable('preflights')
    .set((eb) => ({ next_attempt_at: nextAttemptAt, attempts: eb('attempts', '+', 1) }))
    .where('account_name', 'in', (eb) =>
      eb
        .selectFrom('preflights')
        .select('account_name')
        .where('next_attempt_at', '<=', now)
        .orderBy('next_attempt_at')
        .limit(limit)
        .forUpdate()
        .skipLocked(),
    )
    .returning(['account_name', 'connection_id', 'deadline_at', 'attempts'])
    .execute();
  return rows.map((row) => ({
    accountName: row.account_name,
    connectionId: row.connection_id,
    deadlineAt: row.deadline_at,
    attempts: row.attempts,
  }));
}

export async function postponePreflight(
  db: Db,
  { accountName, nextAttemptAt, error }: { accountName: string; nextAttemptAt: Date; error: string },
): Promise<void> {
  await db
    .updateTable('preflights')
    .set({ next_attempt_at: nextAttemptAt, last_error: error })
    .where('account_name', '=', accountName)
    .execute();
}
