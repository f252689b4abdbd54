import { type Selectable, sql } from 'kysely';
import type { DetailsType } from '../../authorization-details/details-type.ts';
import type { SigningAlg } from '../../crypto/algorithms.ts';
import type { Db } from '../../db/database.ts';
import type { Resources } from '../../db/schema.gen.ts';
import type { TargetProblem } from '../../engines/terms.ts';
import type { ConnectionView, Resource, ResourceKind, Scope } from '../resource.ts';
import { upstreamView } from '../upstreams/store.ts';
import type { UpstreamView } from '../upstreams/upstream.ts';

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

export const selection = [...columns, connectionView, upstreamView] as const;

type Row = Pick<Selectable<Resources>, (typeof columns)[number]> & {
  connection: ConnectionView | null;
  upstream: UpstreamView | null;
};

export function toResource(row: Row): Resource {
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
    upstream: row.upstream,
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

export function undeleted(db: Db) {
  return db.selectFrom('resources').select(selection).where('deleted_at', 'is', null);
}
