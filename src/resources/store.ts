import { type Selectable, sql } from 'kysely';
import type { DetailsType } from '../authorization-details/details-type.ts';
import { type SecretDigest, toSecretDigests, validDigests } from '../client-secrets/secret-digests.ts';
import type { SigningAlg } from '../crypto/algorithms.ts';
import type { Db, Tx } from '../db/database.ts';
import type { Resources } from '../db/schema.gen.ts';
import type { TargetProblem } from '../engines/terms.ts';
import {
  type ConnectionView,
  type Resource,
  type ResourceKind,
  type Scope,
  sameIdentifiers,
} from './resource.ts';

const columns = [
  'id',
  'identifier',
  'name',
  'kind',
  'labels',
  'scopes',
  'max_grant_seconds',
  'token_ttl_seconds',
  'token_alg',
  'require_bound_tokens',
  'authorization_details_types',
  'epoch',
  'version',
  'created_at',
  'created_by',
  'updated_at',
  'preflight_at',
  'preflight_problems',
] as const;

/** Reads the connection of a resource, without its password. */
const connectionView = sql<ConnectionView | null>`(
  select jsonb_build_object('id', c.id, 'host', c.host, 'port', c.port, 'database', c.database, 'username', c.username,
      'tls', jsonb_strip_nulls(jsonb_build_object('mode', c.tls_mode, 'ca', c.tls_ca)), 'replicas', c.replicas,
      'endpoint', c.endpoint, 'ownedObjects', c.owned_objects,
      'passwordRotationDays', c.password_rotation_days, 'passwordChangedAt', c.password_changed_at)
    from connections c where c.id = resources.connection_id)`.as('connection');

const selection = [...columns, connectionView] as const;

type Row = Pick<Selectable<Resources>, (typeof columns)[number]> & { connection: ConnectionView | null };

function toResource(row: Row): Resource {
  return {
    id: row.id,
    identifier: row.identifier,
    name: row.name,
    kind: row.kind as ResourceKind,
    labels: row.labels,
    scopes: row.scopes as unknown as Scope[],
    maxGrantSeconds: row.max_grant_seconds,
    tokenTtlSeconds: row.token_ttl_seconds,
    tokenAlg: row.token_alg as SigningAlg,
    requireBoundTokens: row.require_bound_tokens,
    authorizationDetailsTypes: row.authorization_details_types as unknown as DetailsType[],
    connection: row.connection,
    preflight:
      row.preflight_at === null
        ? null
        : { at: row.preflight_at, problems: row.preflight_problems as unknown as TargetProblem[] },
    epoch: row.epoch,
    version: row.version,
    createdAt: row.created_at,
    createdBy: row.created_by,
    updatedAt: row.updated_at,
  };
}

function undeleted(db: Db) {
  return db.selectFrom('resources').select(selection).where('deleted_at', 'is', null);
}

/**
 * Checks that no resource has, or ever had, this identifier, with or without a trailing slash. No other resource can
 * be created until the transaction ends: a unique constraint would only compare exact identifiers.
 */
export async function claimIdentifier(tx: Tx, identifier: string): Promise<boolean> {
  await sql`select pg_advisory_xact_lock(hashtext('hallpass.resource-identifiers'))`.execute(tx);
  const row = await tx
    .selectFrom('resources')
    .select('id')
    .where('identifier', 'in', sameIdentifiers(identifier))
    .limit(1)
    .executeTakeFirst();
  return row === undefined;
}

export async function insertResource(
  tx: Tx,
  resource: Omit<Resource, 'epoch' | 'version' | 'updatedAt' | 'connection' | 'preflight'> & {
    connectionId: string | null;
  },
): Promise<Resource> {
  const row = await tx
    .insertInto('resources')
    .values({
      id: resource.id,
      identifier: resource.identifier,
      name: resource.name,
      kind: resource.kind,
      labels: resource.labels,
      scopes: JSON.stringify(resource.scopes),
      max_grant_seconds: resource.maxGrantSeconds,
      token_ttl_seconds: resource.tokenTtlSeconds,
      token_alg: resource.tokenAlg,
      require_bound_tokens: resource.requireBoundTokens,
      authorization_details_types: JSON.stringify(resource.authorizationDetailsTypes),
      connection_id: resource.connectionId,
      preflight_at: resource.connectionId === null ? null : resource.createdAt,
      created_at: resource.createdAt,
      created_by: resource.createdBy,
      updated_at: resource.createdAt,
    })
    .returning(selection)
    .executeTakeFirstOrThrow();
  return toResource(row);
}

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

type Changeable = Pick<
  Resource,
  | 'name'
  | 'labels'
  | 'scopes'
  | 'maxGrantSeconds'
  | 'tokenTtlSeconds'
  | 'tokenAlg'
  | 'requireBoundTokens'
  | 'authorizationDetailsTypes'
>;

export type ResourceChange = { [Field in keyof Changeable]?: Changeable[Field] | undefined } & {
  /** A connection whose target was tested. */
  connectionId?: string | undefined;
};

const toJson = (value: unknown): string | undefined =>
  value === undefined ? undefined : JSON.stringify(value);

/** Changes the given members. */
export async function updateResource(
  tx: Tx,
  { id, change, at }: { id: string; change: ResourceChange; at: Date },
): Promise<Resource> {
  const row = await tx
    .updateTable('resources')
    .set({
      name: change.name,
      labels: change.labels,
      scopes: toJson(change.scopes),
      max_grant_seconds: change.maxGrantSeconds,
      token_ttl_seconds: change.tokenTtlSeconds,
      token_alg: change.tokenAlg,
      require_bound_tokens: change.requireBoundTokens,
      authorization_details_types: toJson(change.authorizationDetailsTypes),
      connection_id: change.connectionId,
      ...(change.connectionId === undefined ? {} : { preflight_at: at, preflight_problems: '[]' }),
      updated_at: at,
    })
    .where('id', '=', id)
    .returning(selection)
    .executeTakeFirstOrThrow();
  return toResource(row);
}

/**
 * Marks the resource as deleted and ends all that was issued for it. Its id and identifier are never reused.
 * Returns false if it does not exist.
 */
export async function deleteResource(tx: Tx, { id, at }: { id: string; at: Date }): Promise<boolean> {
  const result = await tx
    .updateTable('resources')
    .set((eb) => ({ deleted_at: at, epoch: eb('epoch', '+', 1), connection_id: null, updated_at: at }))
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
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

/** Records the result of a test of the resource's target, unless it has another connection by now. */
export async function recordPreflight(
  tx: Tx,
  {
    id,
    connectionId,
    at,
    problems,
  }: { id: string; connectionId: string; at: Date; problems: readonly TargetProblem[] },
): Promise<boolean> {
  const result = await tx
    .updateTable('resources')
    .set({ preflight_at: at, preflight_problems: JSON.stringify(problems) })
    .where('id', '=', id)
    .where('connection_id', '=', connectionId)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
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
