import { type Selectable, sql } from 'kysely';
import type { DetailsType } from '../authorization-details/details-type.ts';
import { type LiveDigest, liveDigests, toLiveDigests } from '../client-secrets/store.ts';
import type { SigningAlg } from '../crypto/algorithms.ts';
import type { Db, Tx } from '../db/database.ts';
import { lineEndedAt } from '../db/line-ended-at.ts';
import type { Resources } from '../db/schema.gen.ts';
import { type Resource, type ResourceKind, type Scope, sameIdentifiers } from './resource.ts';

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
] as const;

function toResource(row: Pick<Selectable<Resources>, (typeof columns)[number]>): Resource {
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
    epoch: row.epoch,
    version: row.version,
    createdAt: row.created_at,
    createdBy: row.created_by,
    updatedAt: row.updated_at,
  };
}

function living(db: Db) {
  return db.selectFrom('resources').select(columns).where('deleted_at', 'is', null);
}

/**
 * Whether a resource has, or ever had, this identifier or one that differs by one trailing slash. Nobody else makes
 * a resource until the transaction ends: a unique constraint sees only identifiers that are equal.
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
  resource: Omit<Resource, 'epoch' | 'version' | 'updatedAt'>,
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
      created_at: resource.createdAt,
      created_by: resource.createdBy,
      updated_at: resource.createdAt,
    })
    .returning(columns)
    .executeTakeFirstOrThrow();
  return toResource(row);
}

export async function findResource(db: Db, id: string): Promise<Resource | undefined> {
  const row = await living(db).where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toResource(row);
}

/** The resource with this identifier, or with one that differs by one trailing slash. */
export async function findResourceByIdentifier(db: Db, identifier: string): Promise<Resource | undefined> {
  const row = await living(db).where('identifier', 'in', sameIdentifiers(identifier)).executeTakeFirst();
  return row === undefined ? undefined : toResource(row);
}

/** Who relies on a resource and who changes it are let in as they come: a row that many share is never free for another. */
const placeOf = (id: string) => sql`hashtextextended(${`hallpass.resource ${id}`}, 0)`;

/** The resource, its row locked until the transaction ends. */
export async function lockResource(tx: Tx, id: string): Promise<Resource | undefined> {
  await sql`select pg_advisory_xact_lock(${placeOf(id)})`.execute(tx);
  const row = await living(tx).where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : toResource(row);
}

/**
 * The resource, which nobody changes until the transaction ends; others may read it so at the same time. A grant
 * that is made under this lock is made before a change of the catalogue, which then sees it, or after it.
 */
export async function lockResourceShared(tx: Tx, id: string): Promise<Resource | undefined> {
  await sql`select pg_advisory_xact_lock_shared(${placeOf(id)})`.execute(tx);
  const row = await living(tx).where('id', '=', id).forShare().executeTakeFirst();
  return row === undefined ? undefined : toResource(row);
}

export async function listResources(
  db: Db,
  page: { limit: number; after?: string | undefined },
): Promise<Resource[]> {
  let query = living(db).orderBy('id').limit(page.limit);
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

export type ResourceChange = { [Field in keyof Changeable]?: Changeable[Field] | undefined };

const toJson = (value: unknown): string | undefined =>
  value === undefined ? undefined : JSON.stringify(value);

/** Changes what `change` has; the rest stays. */
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
      updated_at: at,
    })
    .where('id', '=', id)
    .returning(columns)
    .executeTakeFirstOrThrow();
  return toResource(row);
}

/** Deletes softly, for ever ending what was issued for it: id and identifier stay taken. False if it is not there. */
export async function deleteResource(tx: Tx, { id, at }: { id: string; at: Date }): Promise<boolean> {
  const result = await tx
    .updateTable('resources')
    .set((eb) => ({ deleted_at: at, epoch: eb('epoch', '+', 1), updated_at: at }))
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

export interface EndedGrant {
  id: string;
  agentId: string;
  status: 'denied' | 'revoked';
  reason: string;
}

/**
 * Ends every grant of the resource that uses one of the scopes `ended` or has a detail of one of `types`, and every request
 * that uses one of the scopes `changed` and has an approval already: that was given to another text, and must not be
 * completed. Says of each which. One that its time or an epoch has ended already is left: what has ended keeps its end.
 * (Not so one whose agent expired: that can be moved.) The caller holds the resource FOR UPDATE in `tx`.
 */
export async function endGrantsUsing(
  tx: Tx,
  ending: Record<'ended' | 'changed' | 'types', string[]> & { resourceId: string; by: string; at: Date },
): Promise<EndedGrant[]> {
  const { resourceId, ended, changed, types, by, at } = ending;
  const usedTypes = sql`select distinct detail ->> 'type' as type
    from jsonb_array_elements(g.authorization_details) detail where detail ->> 'type' = any(${types}::text[])`;
  const result = await sql<EndedGrant>`
    update grants g
       set status = case g.status when 'pending' then 'denied' else 'revoked' end,
           ended_at = ${at}, ended_by = ${by},
           end_reason = case when g.scopes && ${ended}::text[]
             then 'scope was taken out or its risk raised: '
               || (select string_agg(used, ' ') from unnest(g.scopes) used where used = any(${ended}::text[]))
             when exists (${usedTypes}) then 'authorization details type was taken out or changed: '
               || (select string_agg(used.type, ' ') from (${usedTypes}) used)
             else 'scope was changed after an approval: '
               || (select string_agg(used, ' ') from unnest(g.scopes) used where used = any(${changed}::text[]))
             end
      from agents a, resources r
     where g.resource_id = ${resourceId} and g.status in ('pending', 'scheduled', 'active')
       and (g.scopes && ${ended}::text[] or exists (${usedTypes})
            or (g.status = 'pending' and g.scopes && ${changed}::text[]
                and exists (select from approvals p where p.grant_id = g.id)))
       and case g.status when 'pending' then g.lapses_at else g.expires_at end > ${at}
       and ${lineEndedAt} is null
       and a.id = g.agent_id and g.agent_epoch = a.epoch
       and r.id = g.resource_id and g.resource_epoch = r.epoch
    returning g.id, g.agent_id as "agentId", g.status, g.end_reason as reason`.execute(tx);
  return result.rows;
}

/** A resource server as the token endpoint needs it: with what a presented secret is compared with. */
export interface ResourceServer extends Pick<Resource, 'id' | 'epoch' | 'version' | 'identifier'> {
  secrets: LiveDigest[];
}

/** Reads a resource server and its live secrets in one query. */
export async function findResourceServer(
  db: Db,
  clientId: string,
  now: Date,
): Promise<ResourceServer | undefined> {
  const row = await db
    .selectFrom('resources')
    .select(['id', 'epoch', 'version', 'identifier'])
    .select(liveDigests('resource', sql.ref('resources.id'), now).as('secrets'))
    .where('id', '=', clientId)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return row === undefined ? undefined : { ...row, secrets: toLiveDigests(row.secrets) };
}
