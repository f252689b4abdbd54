import { sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import type { Address, TlsSettings } from '../../engines/terms.ts';
import { addSeconds } from '../../platform/clock.ts';
import type { Connection } from './connection.ts';

/** How long it may take to replace a password. Another process finishes what takes longer. */
export const attemptSeconds = 30;

/**
 * Returns the instant after which a process must not set a pending password: 10 s before another process may claim the
 * rotation. That covers 5 s of clock difference.
 */
export function deadlineOf(pendingAt: Date): Date {
  return addSeconds(pendingAt, attemptSeconds - 10);
}

/** The password of a connection, and the one that may replace it. */
export interface ConnectionPassword {
  id: string;
  tls: TlsSettings;
  replicas: Address[];
  /** Whether a resource has it. */
  isUsed: boolean;
  passwordSealed: Buffer;
  passwordChangedAt: Date;
  /** Null unless a password was stored that the target may have. */
  pendingSealed: Buffer | null;
  pendingAt: Date | null;
}

type AdminAccount = Pick<Connection, 'kind' | 'host' | 'port' | 'username'>;

function selectPasswords(db: Db) {
  return db
    .selectFrom('connections')
    .select(['id', 'tls_mode as mode', 'tls_ca as ca', 'replicas', 'password_sealed as passwordSealed'])
    .select(
      sql<boolean>`exists (select from resources r where r.connection_id = connections.id and r.deleted_at is null)`.as(
        'isUsed',
      ),
    )
    .select(['password_changed_at as passwordChangedAt', 'pending_password_sealed as pendingSealed'])
    .select('pending_at as pendingAt');
}

function toPassword({
  mode,
  ca,
  ...row
}: Awaited<ReturnType<ReturnType<typeof selectPasswords>['executeTakeFirstOrThrow']>>): ConnectionPassword {
  return {
    ...row,
    replicas: row.replicas as unknown as Address[],
    tls: { mode: mode as TlsSettings['mode'], ca: ca ?? undefined },
  };
}

export async function findPassword(db: Db, id: string): Promise<ConnectionPassword | undefined> {
  return (await selectPasswords(db).where('id', '=', id).execute()).map(toPassword)[0];
}

/** Returns every connection with the same admin account of the same target, locked until the transaction ends. */
export async function lockSameAdmin(tx: Tx, account: AdminAccount): Promise<ConnectionPassword[]> {
  const rows = await selectPasswords(tx)
    .where('kind', '=', account.kind)
    .where('host', '=', account.host)
    .where('port', '=', account.port)
    .where('username', '=', account.username)
    .orderBy('id')
    .forUpdate()
    .execute();
  return rows.map(toPassword);
}

export async function setPending(
  tx: Tx,
  { id, sealed, at }: { id: string; sealed: Buffer; at: Date },
): Promise<void> {
  await tx
    .updateTable('connections')
    .set({ pending_password_sealed: sealed, pending_at: at })
    .where('id', '=', id)
    .execute();
}

/** Stores the password that the target has now, and forgets what was pending. */
export async function setPassword(
  tx: Tx,
  { id, sealed, at }: { id: string; sealed: Buffer; at: Date },
): Promise<void> {
  await shareSealedPassword(tx, { id, sealed, at });
  await tx
    .updateTable('connections')
    .set({ pending_password_sealed: null, pending_at: null, rotation_failed_at: null })
    .where('id', '=', id)
    .execute();
}

/** Stores a password that an admin has given and that was tested. A pending one stays. */
export async function shareSealedPassword(
  tx: Tx,
  { id, sealed, at }: { id: string; sealed: Buffer; at: Date },
): Promise<void> {
  await tx
    .updateTable('connections')
    .set({ password_sealed: sealed, password_changed_at: at })
    .where('id', '=', id)
    .execute();
}

/**
 * Notes that an attempt failed. Returns false if one had failed before, or if another process has claimed the rotation
 * since.
 */
export async function noteFailure(
  tx: Tx,
  { id, claimedAt, at }: { id: string; claimedAt: Date; at: Date },
): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('connections')
    .set({ rotation_failed_at: at })
    .where('id', '=', id)
    .where('pending_at', '=', claimedAt)
    .where('rotation_failed_at', 'is', null)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

/** Lists connections in use whose password is older than they permit at `now`, one for each admin account. */
export async function listDue(db: Db, now: Date): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select distinct on (c.kind, c.host, c.port, c.username) c.id
      from connections c join resources r on r.connection_id = c.id
     where r.deleted_at is null and c.pending_at is null
       and c.password_changed_at <= ${now}::timestamptz - make_interval(days => c.password_rotation_days)
     order by c.kind, c.host, c.port, c.username, c.id`.execute(db);
  return rows.map(({ id }) => id);
}

/**
 * Lists the rotations whose last attempt began before `before`: nobody works on them any more. Returns one connection
 * for each admin account, if possible one that a resource has: an old one may no longer reach the target.
 */
export async function listUnfinished(db: Db, before: Date): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select distinct on (c.kind, c.host, c.port, c.username) c.id
      from connections c left join resources r on r.connection_id = c.id and r.deleted_at is null
     where c.pending_at < ${before}
     order by c.kind, c.host, c.port, c.username, (r.id is null), c.id desc`.execute(db);
  return rows.map(({ id }) => id);
}

/** Claims an unfinished rotation, at every connection with the account. Returns false if another process has claimed it. */
export async function claimUnfinished(
  tx: Tx,
  { id, before, now }: { id: string; before: Date; now: Date },
): Promise<boolean> {
  const { rows } = await sql`
    update connections c set pending_at = ${now} from connections one
     where one.id = ${id} and (c.kind, c.host, c.port, c.username) = (one.kind, one.host, one.port, one.username)
       and c.pending_at < ${before}
    returning c.id`.execute(tx);
  return rows.length > 0;
}
