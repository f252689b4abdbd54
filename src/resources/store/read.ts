import { sql } from 'kysely';
import { type SecretDigest, toSecretDigests, validDigests } from '../../client-secrets/secret-digests.ts';
import type { Db, Tx } from '../../db/database.ts';
import { type Resource, sameIdentifiers } from '../resource.ts';
import { toResource, undeleted } from './rows.ts';

export async function findResource(db: Db, id: string): Promise<Resource | undefined> {
  const row = await undeleted(db).where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toResource(row);
}

/** Finds the resource by its identifier, with or without a trailing slash. */
export async function findResourceByIdentifier(db: Db, identifier: string): Promise<Resource | undefined> {
  const row = await undeleted(db).where('identifier', 'in', sameIdentifiers(identifier)).executeTakeFirst();
  return row === undefined ? undefined : toResource(row);
}

/**
 * Returns the key of an advisory lock of the resource, which is granted in the order of requests. A row lock is not: a row
 * with overlapping shared locks is never free for an exclusive one.
 */
const placeOf = (id: string) => sql`hashtextextended(${`hallpass.resource ${id}`}, 0)`;

/** Returns the resource, with its row locked until the transaction ends. */
export async function lockResource(tx: Tx, id: string): Promise<Resource | undefined> {
  await sql`select pg_advisory_xact_lock(${placeOf(id)})`.execute(tx);
  const row = await undeleted(tx).where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : toResource(row);
}

/**
 * Returns the resource, locked against changes until the transaction ends; other shared locks are possible meanwhile.
 * A grant that is created under this lock is either created before a change of the catalogue, which then sees it, or
 * after it.
 */
export async function lockResourceShared(tx: Tx, id: string): Promise<Resource | undefined> {
  await sql`select pg_advisory_xact_lock_shared(${placeOf(id)})`.execute(tx);
  const row = await undeleted(tx).where('id', '=', id).forShare().executeTakeFirst();
  return row === undefined ? undefined : toResource(row);
}

export async function listResources(
  db: Db,
  page: { limit: number; after?: string | undefined },
): Promise<Resource[]> {
  let query = undeleted(db).orderBy('id').limit(page.limit);
  if (page.after !== undefined) query = query.where('id', '>', page.after);
  return (await query.execute()).map(toResource);
}

/** A resource server with the digests that the token endpoint compares a secret with. */
export interface ResourceServer extends Pick<Resource, 'id' | 'epoch' | 'version' | 'identifier'> {
  secrets: SecretDigest[];
}

/** Reads a resource server and its unexpired secrets in one query. */
export async function findResourceServer(
  db: Db,
  clientId: string,
  now: Date,
): Promise<ResourceServer | undefined> {
  const row = await db
    .selectFrom('resources')
    .select(['id', 'epoch', 'version', 'identifier'])
    .select(validDigests('resource', sql.ref('resources.id'), now).as('secrets'))
    .where('id', '=', clientId)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return row === undefined ? undefined : { ...row, secrets: toSecretDigests(row.secrets) };
}

/**
 * Lists the resources with a connection whose target was last tested before `before`, or before `failedBefore` if the
 * test failed.
 */
export async function listUntested(
  db: Db,
  { before, failedBefore }: { before: Date; failedBefore: Date },
): Promise<Resource[]> {
  const rows = await undeleted(db)
    .where('connection_id', 'is not', null)
    .where((eb) =>
      eb.or([
        eb('preflight_at', '<', before),
        eb.and([eb('preflight_at', '<', failedBefore), eb('preflight_problems', '<>', '[]')]),
      ]),
    )
    .orderBy('preflight_at')
    .limit(100)
    .execute();
  return rows.map(toResource);
}
