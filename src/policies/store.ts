import { sql } from 'kysely';
import type { Db, Tx } from '../db/database.ts';
import type { PolicyDocument } from './engine.ts';
import type { Policy } from './policy.ts';

const policyColumns = [
  'policies.id',
  'policies.name',
  'policies.version',
  'policy_versions.cedar',
  'policies.created_at',
  'policies.updated_at',
  'policy_versions.created_by',
] as const;

interface PolicyRow {
  id: string;
  name: string;
  version: number;
  cedar: string;
  created_at: Date;
  updated_at: Date;
  created_by: string;
}

function toPolicy(row: PolicyRow): Policy {
  return {
    id: row.id,
    name: row.name,
    version: row.version,
    cedar: row.cedar,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    updatedBy: row.created_by,
  };
}

/** Selects every policy that is not deleted, with its current text. */
function undeletedPolicies(db: Db) {
  return db
    .selectFrom('policies')
    .innerJoin('policy_versions', (join) =>
      join
        .onRef('policy_versions.policy_id', '=', 'policies.id')
        .onRef('policy_versions.version', '=', 'policies.version'),
    )
    .select(policyColumns)
    .where('policies.deleted_at', 'is', null);
}

export async function readEpoch(db: Db): Promise<number> {
  const row = await db.selectFrom('policy_epoch').select('epoch').executeTakeFirstOrThrow();
  return row.epoch;
}

/**
 * Raises the epoch by one, or to the time in milliseconds if that is greater, so that no epoch is used twice, even
 * after the database was restored from a backup. This is the first statement of every change: its row lock serialises
 * changes of the policies.
 */
export async function raiseEpoch(tx: Tx, at: Date): Promise<void> {
  await tx
    .updateTable('policy_epoch')
    .set({ epoch: sql<number>`greatest(epoch + 1, ${at.getTime()}::bigint)` })
    .execute();
}

/** Reads the epoch and every policy that is not deleted in one statement, so from one snapshot. */
export async function readPolicySet(db: Db): Promise<{ epoch: bigint; policies: PolicyDocument[] }> {
  const rows = await db
    .selectFrom('policy_epoch')
    .leftJoin(undeletedPolicies(db).as('current'), (join) => join.onTrue())
    .select(['policy_epoch.epoch', 'current.id', 'current.version', 'current.cedar'])
    .orderBy('current.id')
    .execute();
  const policies = rows.flatMap(({ id, version, cedar }) =>
    id === null || version === null || cedar === null ? [] : [{ id, version, cedar }],
  );
  return { epoch: BigInt(rows[0]?.epoch ?? 0), policies };
}

export async function findPolicy(db: Db, id: string): Promise<Policy | undefined> {
  const row = await undeletedPolicies(db).where('policies.id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toPolicy(row);
}

export async function listPolicies(
  db: Db,
  page: { limit: number; after?: string | undefined },
): Promise<Policy[]> {
  let query = undeletedPolicies(db).orderBy('policies.id').limit(page.limit);
  if (page.after !== undefined) query = query.where('policies.id', '>', page.after);
  return (await query.execute()).map(toPolicy);
}

export async function insertPolicy(tx: Tx, policy: Policy): Promise<void> {
  await tx
    .insertInto('policies')
    .values({
      id: policy.id,
      name: policy.name,
      version: policy.version,
      created_at: policy.createdAt,
      updated_at: policy.updatedAt,
    })
    .execute();
  await insertVersion(tx, policy);
}

async function insertVersion(tx: Tx, policy: Policy): Promise<void> {
  await tx
    .insertInto('policy_versions')
    .values({
      policy_id: policy.id,
      version: policy.version,
      cedar: policy.cedar,
      created_at: policy.updatedAt,
      created_by: policy.updatedBy,
    })
    .execute();
}

export interface PolicyReplacement {
  id: string;
  /** The new name; the name stays the same if absent. */
  name?: string | undefined;
  cedar: string;
  /** If given, the change applies only if this is the current version. */
  replaces?: number | undefined;
  at: Date;
  by: string;
}

/**
 * Creates the next version of a policy. Returns undefined if the policy does not exist, is deleted, or has another
 * version than `replaces`.
 */
export async function replacePolicy(tx: Tx, change: PolicyReplacement): Promise<Policy | undefined> {
  const { id, name, cedar, replaces, at, by } = change;
  let query = tx
    .updateTable('policies')
    .set((eb) => ({
      version: eb('version', '+', 1),
      updated_at: at,
      ...(name === undefined ? {} : { name }),
    }))
    .where('id', '=', id)
    .where('deleted_at', 'is', null);
  if (replaces !== undefined) query = query.where('version', '=', replaces);
  const row = await query.returning(['name', 'version', 'created_at']).executeTakeFirst();
  if (row === undefined) return undefined;
  const policy = { id, name: row.name, version: row.version, createdAt: row.created_at };
  const replaced = { ...policy, cedar, updatedAt: at, updatedBy: by };
  await insertVersion(tx, replaced);
  return replaced;
}

/** Marks the policy as deleted. Its versions are kept, because earlier decisions refer to them. */
export async function deletePolicy(tx: Tx, policy: { id: string; at: Date }): Promise<void> {
  await tx
    .updateTable('policies')
    .set({ deleted_at: policy.at, updated_at: policy.at })
    .where('id', '=', policy.id)
    .where('deleted_at', 'is', null)
    .execute();
}

/** Returns whether a policy was ever created. Concurrent callers wait for each other. */
export async function lockDefaultPolicy(tx: Tx): Promise<boolean> {
  await sql`select pg_advisory_xact_lock(hashtext('hallpass.default-policy'))`.execute(tx);
  return (await tx.selectFrom('policies').select('id').limit(1).executeTakeFirst()) !== undefined;
}
