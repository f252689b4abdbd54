import { sql } from 'kysely';
import type { Role } from '../../caller.ts';
import type { Db, Tx } from '../../db/database.ts';
import type { AdminKey } from '../admin.ts';

const keyColumns = [
  'id',
  'name',
  'issued_by',
  'created_at',
  'expires_at',
  'revoked_at',
  'last_used_at',
] as const;

export interface NewAdminKey {
  id: string;
  adminId: string;
  name: string;
  keyHash: Buffer;
  issuedBy: string | null;
  createdAt: Date;
  expiresAt: Date;
}

export async function insertKey(tx: Tx, key: NewAdminKey): Promise<void> {
  await tx
    .insertInto('admin_keys')
    .values({
      id: key.id,
      admin_id: key.adminId,
      name: key.name,
      key_hash: key.keyHash,
      issued_by: key.issuedBy,
      created_at: key.createdAt,
      expires_at: key.expiresAt,
    })
    .execute();
}

export async function listKeys(db: Db, adminId: string): Promise<AdminKey[]> {
  const rows = await db
    .selectFrom('admin_keys')
    .select(keyColumns)
    .where('admin_id', '=', adminId)
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    issuedBy: row.issued_by,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    lastUsedAt: row.last_used_at,
  }));
}

/** Revokes a key. Returns `already` if it was revoked before, `unknown` if the person has no key with this id. */
export async function revokeKey(
  tx: Tx,
  key: { id: string; adminId: string; at: Date },
): Promise<'revoked' | 'already' | 'unknown'> {
  const changed = await tx
    .updateTable('admin_keys')
    .set({ revoked_at: key.at })
    .where('id', '=', key.id)
    .where('admin_id', '=', key.adminId)
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  if (changed.numUpdatedRows > 0n) return 'revoked';
  const row = await tx
    .selectFrom('admin_keys')
    .select('id')
    .where('id', '=', key.id)
    .where('admin_id', '=', key.adminId)
    .executeTakeFirst();
  return row === undefined ? 'unknown' : 'already';
}

/** Revokes every key of every person. Returns how many were not revoked before. */
export async function revokeEveryKey(tx: Tx, at: Date): Promise<number> {
  const result = await tx
    .updateTable('admin_keys')
    .set({ revoked_at: at })
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}

export interface KeyHolder {
  keyId: string;
  issuedBy: string | null;
  adminId: string;
  roles: Role[];
  groups: string[];
}

/** Returns the holder of the key with this digest if the key is valid at `now`. */
export async function findKeyHolder(db: Db, keyHash: Buffer, now: Date): Promise<KeyHolder | undefined> {
  const row = await db
    .selectFrom('admin_keys')
    .innerJoin('admins', 'admins.id', 'admin_keys.admin_id')
    .select([
      'admin_keys.id as key_id',
      'admin_keys.issued_by',
      'admins.id as admin_id',
      'admins.roles',
      'admins.groups',
    ])
    .where('key_hash', '=', keyHash)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  return {
    keyId: row.key_id,
    issuedBy: row.issued_by,
    adminId: row.admin_id,
    roles: row.roles as Role[],
    groups: row.groups,
  };
}

/** Writes when keys were last used, in one statement. Never replaces a later time by an earlier one. */
export async function recordKeyUse(db: Db, uses: ReadonlyMap<string, Date>): Promise<void> {
  await sql`
    update admin_keys k set last_used_at = u.at
      from unnest(${[...uses.keys()]}::text[], ${[...uses.values()].map((at) => at.toISOString())}::timestamptz[]) as u(id, at)
     where k.id = u.id and (k.last_used_at is null or k.last_used_at < u.at)`.execute(db);
}
