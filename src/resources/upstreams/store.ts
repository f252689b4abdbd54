import { sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import type { Scope } from '../resource.ts';
import type {
  Upstream,
  UpstreamCredential,
  UpstreamCredentialView,
  UpstreamSettings,
  UpstreamView,
} from './upstream.ts';

/** Reads the upstream `u` as a JSON object. */
const upstreamJson = sql<UpstreamView>`jsonb_build_object('slug', u.slug, 'baseUrl', u.base_url, 'protocol', u.protocol,
      'credential', jsonb_strip_nulls(jsonb_build_object('type', u.credential_type,
        'name', case when u.credential_type = 'header' then u.credential_name end,
        'username', case when u.credential_type = 'basic' then u.credential_name end)),
      'ca', u.ca, 'connectSeconds', u.connect_seconds, 'responseSeconds', u.response_seconds,
      'idleSeconds', u.idle_seconds)`;

/** Reads the upstream of a resource, without its secrets. */
export const upstreamView = sql<UpstreamView | null>`(
  select ${upstreamJson} from upstreams u where u.resource_id = resources.id)`.as('upstream');

/** Whether no resource has, or ever had, this slug. The caller has locked the creation of resources in `tx`. */
export async function isSlugFree(tx: Tx, slug: string): Promise<boolean> {
  const row = await tx.selectFrom('upstreams').select('slug').where('slug', '=', slug).executeTakeFirst();
  return row === undefined;
}

function toColumns({ baseUrl, credential, ca, ...settings }: UpstreamSettings) {
  return {
    base_url: baseUrl,
    credential_type: credential.type,
    credential_name: nameOf(credential),
    ca,
    connect_seconds: settings.connectSeconds,
    response_seconds: settings.responseSeconds,
    idle_seconds: settings.idleSeconds,
  };
}

function nameOf(credential: UpstreamCredential): string | null {
  if (credential.type === 'header') return credential.name;
  return credential.type === 'basic' ? credential.username : null;
}

export async function insertUpstream(tx: Tx, upstream: Upstream): Promise<void> {
  const { resourceId, slug, protocol } = upstream;
  await tx
    .insertInto('upstreams')
    .values({ resource_id: resourceId, slug, protocol, ...toColumns(upstream) })
    .execute();
}

export async function updateUpstream(
  tx: Tx,
  { resourceId, settings }: { resourceId: string; settings: UpstreamSettings },
): Promise<void> {
  await tx.updateTable('upstreams').set(toColumns(settings)).where('resource_id', '=', resourceId).execute();
}

/** An upstream with the sealed secret that is in use. */
export interface StoredUpstream extends UpstreamView {
  resourceId: string;
  identifier: string;
  scopes: Scope[];
  /** Null if no secret is in use. */
  sealed: { id: string; secret: Buffer } | null;
}

/**
 * Finds the upstream of a resource that is not deleted, in one statement. The secret in use at `now` is the one that was
 * activated last; of two that were activated at the same instant, the newer one. If all are activated later, which only
 * a difference between the clocks of replicas can cause, it is the first of these.
 */
export async function findUpstream(db: Db, slug: string, now: Date): Promise<StoredUpstream | undefined> {
  const { rows } = await sql<{
    resourceId: string;
    identifier: string;
    scopes: Scope[];
    upstream: UpstreamView;
    credentialId: string | null;
    secretSealed: Buffer | null;
  }>`
    select r.id as "resourceId", r.identifier, r.scopes, ${upstreamJson} as upstream,
           c.id as "credentialId", c.secret_sealed as "secretSealed"
      from upstreams u
      join resources r on r.id = u.resource_id and r.deleted_at is null
      left join lateral (
        select id, secret_sealed from upstream_credentials
         where resource_id = u.resource_id
         order by activates_at > ${now}, abs(extract(epoch from activates_at - ${now}::timestamptz)), id desc limit 1) c
        on true
     where u.slug = ${slug}`.execute(db);
  const row = rows[0];
  if (row === undefined) return undefined;
  const { upstream, credentialId: id, secretSealed: secret, ...resource } = row;
  return { ...upstream, ...resource, sealed: id === null || secret === null ? null : { id, secret } };
}

/** Lists the credentials of a resource, oldest first. */
export async function listCredentials(db: Db, resourceId: string): Promise<UpstreamCredentialView[]> {
  return db
    .selectFrom('upstream_credentials')
    .select(['id', 'created_at as createdAt', 'created_by as createdBy', 'activates_at as activatesAt'])
    .where('resource_id', '=', resourceId)
    .orderBy('id')
    .execute();
}

/** Inserts a credential in a free place. A third one violates a constraint. The caller has locked the resource. */
export async function insertCredential(
  tx: Tx,
  credential: UpstreamCredentialView & { resourceId: string; secretSealed: Buffer },
): Promise<void> {
  const { id, resourceId, secretSealed, activatesAt, createdAt, createdBy } = credential;
  await sql`
    insert into upstream_credentials (id, resource_id, place, secret_sealed, activates_at, created_at, created_by)
    select ${id}, ${resourceId}, coalesce(max(3 - place), 1), ${secretSealed}, ${activatesAt}::timestamptz,
           ${createdAt}::timestamptz, ${createdBy}
      from upstream_credentials where resource_id = ${resourceId}`.execute(tx);
}

/** Deletes a credential with its secret. */
export async function deleteCredential(tx: Tx, id: string): Promise<void> {
  await tx.deleteFrom('upstream_credentials').where('id', '=', id).execute();
}

/** Deletes the credentials of a resource with their secrets. Returns their ids. */
export async function deleteCredentials(tx: Tx, resourceId: string): Promise<string[]> {
  const rows = await tx
    .deleteFrom('upstream_credentials')
    .where('resource_id', '=', resourceId)
    .returning('id')
    .execute();
  return rows.map(({ id }) => id);
}

/** A sealed secret and the row that it is in. */
export interface SealedSecret {
  id: string;
  sealed: Buffer;
}

export async function listSealedSecrets(tx: Tx): Promise<SealedSecret[]> {
  return tx.selectFrom('upstream_credentials').select(['id', 'secret_sealed as sealed']).execute();
}

/** Replaces a sealed secret that has not changed. Returns the number of rows, 0 or 1. */
export async function replaceSealedSecret(tx: Tx, { id, sealed }: SealedSecret, to: Buffer): Promise<number> {
  const { numUpdatedRows } = await tx
    .updateTable('upstream_credentials')
    .set({ secret_sealed: to })
    .where('id', '=', id)
    .where('secret_sealed', '=', sealed)
    .executeTakeFirst();
  return Number(numUpdatedRows);
}
