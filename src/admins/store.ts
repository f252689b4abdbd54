import { sql } from 'kysely';
import type { Role } from '../caller.ts';
import type { Db, Tx } from '../db/database.ts';
import type { Admin, Approver } from './admin.ts';

const adminColumns = ['id', 'name', 'email', 'roles', 'groups', 'created_at', 'updated_at'] as const;

interface AdminRow {
  id: string;
  name: string;
  email: string;
  roles: string[];
  groups: string[];
  created_at: Date;
  updated_at: Date;
}

function toAdmin(row: AdminRow): Admin {
  return {
    id: row.id,
    name: row.name,
    email: row.email,
    roles: row.roles as Role[],
    groups: row.groups,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

export async function insertAdmin(tx: Tx, admin: Admin & { createdBy: string | null }): Promise<void> {
  await tx
    .insertInto('admins')
    .values({
      id: admin.id,
      name: admin.name,
      email: admin.email,
      roles: admin.roles,
      groups: admin.groups,
      created_at: admin.createdAt,
      created_by: admin.createdBy,
      updated_at: admin.updatedAt,
    })
    .execute();
}

export async function findAdmin(db: Db, id: string): Promise<Admin | undefined> {
  const row = await db
    .selectFrom('admins')
    .select(adminColumns)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return row === undefined ? undefined : toAdmin(row);
}

export async function findAdminByEmail(db: Db, email: string): Promise<Admin | undefined> {
  const row = await db
    .selectFrom('admins')
    .select(adminColumns)
    .where('email', '=', email)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return row === undefined ? undefined : toAdmin(row);
}

/** Returns the person, with the row locked until the transaction ends; undefined if unknown or deleted. */
export async function lockAdmin(tx: Tx, id: string): Promise<Admin | undefined> {
  const row = await tx
    .selectFrom('admins')
    .select(adminColumns)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .forUpdate()
    .executeTakeFirst();
  return row === undefined ? undefined : toAdmin(row);
}

export async function listAdmins(
  db: Db,
  page: { limit: number; after?: string | undefined },
): Promise<Admin[]> {
  let query = db
    .selectFrom('admins')
    .select(adminColumns)
    .where('deleted_at', 'is', null)
    .orderBy('id')
    .limit(page.limit);
  if (page.after !== undefined) query = query.where('id', '>', page.after);
  return (await query.execute()).map(toAdmin);
}

export type AdminChange = Partial<Pick<Admin, 'name' | 'email' | 'roles' | 'groups'>>;

export async function updateAdmin(
  tx: Tx,
  admin: { id: string; change: AdminChange; at: Date },
): Promise<Admin> {
  const row = await tx
    .updateTable('admins')
    .set({ ...admin.change, updated_at: admin.at })
    .where('id', '=', admin.id)
    .returning(adminColumns)
    .executeTakeFirstOrThrow();
  return toAdmin(row);
}

/** Marks the person as deleted and revokes all their keys. The id is never reused. */
export async function deleteAdmin(tx: Tx, admin: { id: string; at: Date }): Promise<void> {
  await tx
    .updateTable('admins')
    .set({ deleted_at: admin.at, updated_at: admin.at })
    .where('id', '=', admin.id)
    .execute();
  await tx
    .updateTable('admin_keys')
    .set({ revoked_at: admin.at })
    .where('admin_id', '=', admin.id)
    .where('revoked_at', 'is', null)
    .execute();
}

/** Locks every person with the role `admin`, so that concurrent removals are serialised. */
export async function lockAdminRole(tx: Tx): Promise<void> {
  await tx
    .selectFrom('admins')
    .select('id')
    .where(sql<boolean>`'admin' = any(roles)`)
    .where('deleted_at', 'is', null)
    .orderBy('id')
    .forUpdate()
    .execute();
}

/** Counts the people with the role `admin` and a key that is valid at `now`. */
export async function countUsableAdmins(tx: Tx, now: Date): Promise<number> {
  const row = await tx
    .selectFrom('admins')
    .innerJoin('admin_keys', 'admin_keys.admin_id', 'admins.id')
    .select((eb) => eb.fn.count<string>('admins.id').distinct().as('n'))
    .where(sql<boolean>`'admin' = any(admins.roles)`)
    .where('admins.deleted_at', 'is', null)
    .where('admin_keys.revoked_at', 'is', null)
    .where('admin_keys.expires_at', '>', now)
    .executeTakeFirstOrThrow();
  return Number(row.n);
}

export async function ownsAgents(tx: Tx, adminId: string): Promise<boolean> {
  const row = await tx
    .selectFrom('agents')
    .select('id')
    .where('owner_id', '=', adminId)
    .where('deleted_at', 'is', null)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** Returns all people with the role `approver`, and whether each has a key that is valid at `now`. */
export async function listApprovers(db: Db, now: Date): Promise<Approver[]> {
  return db
    .selectFrom('admins')
    .select(['id', 'groups'])
    .select((eb) =>
      eb
        .exists(
          eb
            .selectFrom('admin_keys')
            .select('admin_keys.id')
            .whereRef('admin_keys.admin_id', '=', 'admins.id')
            .where('revoked_at', 'is', null)
            .where('expires_at', '>', now),
        )
        .$castTo<boolean>()
        .as('hasKey'),
    )
    .where(sql<boolean>`'approver' = any(roles)`)
    .where('deleted_at', 'is', null)
    .orderBy('id')
    .execute();
}

/** Stores that the bootstrap admin was created. */
export async function claimBootstrap(tx: Tx, claim: { adminId: string; at: Date }): Promise<void> {
  await tx.insertInto('bootstrap').values({ admin_id: claim.adminId, at: claim.at }).execute();
}

/** Returns whether the bootstrap admin was ever created. Concurrent callers wait for each other. */
export async function lockBootstrap(tx: Tx): Promise<boolean> {
  await sql`select pg_advisory_xact_lock(hashtext('hallpass.bootstrap'))`.execute(tx);
  return (await tx.selectFrom('bootstrap').select('admin_id').executeTakeFirst()) !== undefined;
}
