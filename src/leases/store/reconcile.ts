import { sql } from 'kysely';
import type { Db } from '../../db/database.ts';
import type { Lease } from '../lease.ts';

/** What the broker knows of an account in a target. */
export interface KnownAccount
  extends Pick<Lease, 'id' | 'grantId' | 'agentId' | 'accountName' | 'status' | 'expiresAt'> {
  /** Whether its account was removed, so that it must not exist. */
  isCleanedUp: boolean;
}

/** Finds the leases of the accounts with these names, of any resource, because several may have one target. */
export async function findByAccountNames(db: Db, names: readonly string[]): Promise<KnownAccount[]> {
  return db
    .selectFrom('leases')
    .select(['id', 'grant_id as grantId', 'agent_id as agentId', 'account_name as accountName'])
    .select(['status', 'expires_at as expiresAt'])
    .select(sql<boolean>`cleaned_up_at is not null`.as('isCleanedUp'))
    .where('account_name', '=', sql<string>`any(${names}::text[])`)
    .execute() as Promise<KnownAccount[]>;
}

/** Returns which of these names are accounts of preflights. */
export async function findPreflightNames(db: Db, names: readonly string[]): Promise<string[]> {
  const rows = await db
    .selectFrom('preflights')
    .select('account_name')
    .where('account_name', '=', sql<string>`any(${names}::text[])`)
    .execute();
  return rows.map((row) => row.account_name);
}

/** Finds the active leases that were made through a connection before `before`. */
export async function findActiveAt(
  db: Db,
  { connectionId, before }: { connectionId: string; before: Date },
): Promise<KnownAccount[]> {
  return db
    .selectFrom('leases')
    .select(['id', 'grant_id as grantId', 'agent_id as agentId', 'account_name as accountName'])
    .select(['status', 'expires_at as expiresAt'])
    .select(sql<boolean>`false`.as('isCleanedUp'))
    .where('connection_id', '=', connectionId)
    .where('status', '=', 'active')
    .where('activated_at', '<', before)
    .execute() as Promise<KnownAccount[]>;
}

/** Lists the resources that have a target, with its connection. */
export async function listTargets(db: Db): Promise<{ resourceId: string; connectionId: string }[]> {
  const rows = await db
    .selectFrom('resources')
    .select(['id', 'connection_id'])
    .where('deleted_at', 'is', null)
    .where('connection_id', 'is not', null)
    .orderBy('id')
    .execute();
  return rows.map((row) => ({ resourceId: row.id, connectionId: row.connection_id ?? '' }));
}
