import { type Selectable, sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import type { Connections } from '../../db/schema.gen.ts';
import type { Address, EngineKind } from '../../engines/terms.ts';
import type { Connection } from './connection.ts';

/** A connection with its sealed password. */
export interface StoredConnection extends Connection {
  passwordSealed: Buffer;
}

const columns = [
  'id',
  'resource_id',
  'kind',
  'host',
  'port',
  'database',
  'username',
  'password_sealed',
  'tls_mode',
  'tls_ca',
  'replicas',
  'endpoint',
  'owned_objects',
  'password_rotation_days',
  'created_at',
  'created_by',
] as const;

function toStored(row: Pick<Selectable<Connections>, (typeof columns)[number]>): StoredConnection {
  return {
    id: row.id,
    resourceId: row.resource_id,
    kind: row.kind as EngineKind,
    host: row.host,
    port: row.port,
    database: row.database,
    username: row.username,
    passwordSealed: row.password_sealed,
    tls: { mode: row.tls_mode as 'verify' | 'off', ca: row.tls_ca ?? undefined },
    replicas: row.replicas as unknown as Address[],
    endpoint: row.endpoint as unknown as Address,
    ownedObjects: row.owned_objects as 'keep' | 'drop',
    passwordRotationDays: row.password_rotation_days,
    createdAt: row.created_at,
    createdBy: row.created_by,
  };
}

export async function insertConnection(tx: Tx, connection: StoredConnection): Promise<void> {
  const { tls } = connection;
  await tx
    .insertInto('connections')
    .values({
      id: connection.id,
      resource_id: connection.resourceId,
      kind: connection.kind,
      host: connection.host,
      port: connection.port,
      database: connection.database,
      username: connection.username,
      password_sealed: connection.passwordSealed,
      tls_mode: tls.mode,
      tls_ca: tls.ca ?? null,
      replicas: JSON.stringify(connection.replicas),
      endpoint: JSON.stringify(connection.endpoint),
      owned_objects: connection.ownedObjects,
      password_rotation_days: connection.passwordRotationDays,
      password_changed_at: connection.createdAt,
      created_at: connection.createdAt,
      created_by: connection.createdBy,
    })
    .execute();
}

export async function findConnection(db: Db, id: string): Promise<StoredConnection | undefined> {
  const row = await db.selectFrom('connections').select(columns).where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toStored(row);
}

/** Finds the connection of a resource that is not deleted; undefined if it has none. */
export async function findCurrentConnection(
  db: Db,
  resourceId: string,
): Promise<StoredConnection | undefined> {
  const row = await db
    .selectFrom('connections')
    .select(columns)
    .where('id', '=', (eb) =>
      eb
        .selectFrom('resources')
        .select('connection_id')
        .where('id', '=', resourceId)
        .where('deleted_at', 'is', null),
    )
    .executeTakeFirst();
  return row === undefined ? undefined : toStored(row);
}

/**
 * Deletes connections with their passwords: those made before `before` that no resource uses, and under which no
 * account of a lease or a preflight may exist. Returns how many.
 */
export async function deleteUnusedConnections(tx: Tx, before: Date): Promise<number> {
  // A resource that a replica of the previous version deleted still has its connection.
  await sql`update resources set connection_id = null where deleted_at is not null and connection_id is not null`.execute(
    tx,
  );
  const { numAffectedRows = 0n } = await sql`
    delete from connections c
     where c.created_at < ${before}
       and not exists (select from resources r where r.connection_id = c.id)
       and not exists (select from leases l where l.connection_id = c.id and l.cleaned_up_at is null)
       and not exists (select from preflights p where p.connection_id = c.id)`.execute(tx);
  return Number(numAffectedRows);
}

/** The columns with sealed passwords. Both are sealed to the place of the first, so that a pending one can become it. */
type SealedColumn = 'password_sealed' | 'pending_password_sealed';

/** A sealed password and where it is. */
export interface SealedPassword {
  id: string;
  column: SealedColumn;
  sealed: Buffer;
}

export async function listSealedPasswords(tx: Tx): Promise<SealedPassword[]> {
  const rows = await tx
    .selectFrom('connections')
    .select(['id', 'password_sealed', 'pending_password_sealed'])
    .execute();
  return rows.flatMap(({ id, password_sealed: current, pending_password_sealed: pending }) => [
    { id, column: 'password_sealed' as const, sealed: current },
    ...(pending === null ? [] : [{ id, column: 'pending_password_sealed' as const, sealed: pending }]),
  ]);
}

/** Replaces a sealed password that has not changed. Returns the number of rows, 0 or 1. */
export async function replaceSealedPassword(
  tx: Tx,
  { id, column, sealed }: SealedPassword,
  to: Buffer,
): Promise<number> {
  const result = await tx
    .updateTable('connections')
    .set({ [column]: to })
    .where('id', '=', id)
    .where(column, '=', sealed)
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}

/** Returns the id that the names of this installation's accounts carry. */
export async function readInstallationId(db: Db): Promise<string> {
  return (await db.selectFrom('installation').select('id').executeTakeFirstOrThrow()).id;
}
