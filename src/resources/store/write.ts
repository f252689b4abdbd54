import { sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import type { TargetProblem } from '../../engines/terms.ts';
import { type Resource, sameIdentifiers } from '../resource.ts';
import { selection, toResource } from './rows.ts';

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
  resource: Omit<Resource, 'epoch' | 'version' | 'updatedAt' | 'connection' | 'upstream' | 'preflight'> & {
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
