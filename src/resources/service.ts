import { byAct } from '../audit/audit-event.ts';
import { type DetailsType, endedTypes, typesProblem } from '../authorization-details/details-type.ts';
import type { Act, Person } from '../caller.ts';
import type { Client, ClientSecret } from '../client-secrets/client-secret.ts';
import {
  type ClientSecretsDeps,
  type IssuedSecret,
  issueSecret as issueClientSecret,
  listSecrets,
  revokeAllSecrets,
  revokeSecret as revokeClientSecret,
} from '../client-secrets/service.ts';
import type { SigningAlg } from '../crypto/algorithms.ts';
import type { Db, Tx } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, refuse } from '../errors.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';
import type { ConnectionInput } from './connections/connection.ts';
import { prepareTarget, type TargetConnections } from './prepare-target.ts';
import {
  changedScopes,
  checkIdentifier,
  endedScopes,
  findDuplicateScope,
  type PreflightResult,
  type Resource,
  type ResourceKind,
  resourceDefaults,
  type Scope,
  yieldsLeases,
} from './resource.ts';
import * as store from './store.ts';
import { testDueTargets, testTarget } from './test-target.ts';

export interface ResourcesDeps extends ClientSecretsDeps {
  db: Db;
  /** The issuer. No resource may have an identifier under it. */
  issuer: string;
  /** Whether a key can sign with `alg` now. A resource may choose only an algorithm that has such a key. */
  hasActiveKey: (alg: SigningAlg) => Promise<boolean>;
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
  connections: TargetConnections;
}

export interface NewResource {
  identifier: string;
  name: string;
  kind: ResourceKind;
  scopes: Scope[];
  maxGrantSeconds: number;
  labels?: string[] | undefined;
  tokenTtlSeconds?: number | undefined;
  tokenAlg?: SigningAlg | undefined;
  requireBoundTokens?: boolean | undefined;
  authorizationDetailsTypes?: DetailsType[] | undefined;
  connection?: ConnectionInput | undefined;
}

/** What an admin changes of a resource. */
export type ResourceUpdate = Omit<store.ResourceChange, 'connectionId'> & {
  connection?: ConnectionInput | undefined;
};

export type ResourcesService = ReturnType<typeof createResourcesService>;

/** Creates the service for the resources: their catalogues of scopes, and the client secrets of their servers. */
export function createResourcesService(deps: ResourcesDeps) {
  return {
    create: (act: Act<Person>, resource: NewResource) => create(deps, act, resource),
    list: (page: { limit: number; after?: string | undefined }) => list(deps, page),
    get: (id: string) => get(deps, id),
    update: (act: Act<Person>, id: string, change: ResourceUpdate) => update(deps, act, { id, change }),
    remove: (act: Act<Person>, id: string) => remove(deps, act, id),
    testTarget: (act: Act<Person>, id: string): Promise<PreflightResult> => testTarget(deps, act, id),
    testDueTargets: (fence: (tx: Tx) => Promise<void>, signal: AbortSignal): Promise<number> =>
      testDueTargets(deps, fence, signal),
    issueSecret: (act: Act<Person>, secret: SecretRequest) => issueSecret(deps, act, secret),
    revokeSecret: (act: Act<Person>, secret: { resourceId: string; secretId: string }) =>
      revokeSecret(deps, act, secret),
    /** Finds a resource. Returns undefined if it is unknown or deleted, as the next three functions do. */
    find: (db: Db, id: string): Promise<Resource | undefined> => store.findResource(db, id),
    /** Finds a resource by its identifier, with or without a trailing slash. */
    findByIdentifier: (db: Db, identifier: string): Promise<Resource | undefined> =>
      store.findResourceByIdentifier(db, identifier),
    /** Returns the resource, locked against changes until the transaction ends. */
    lockShared: (tx: Tx, id: string): Promise<Resource | undefined> => store.lockResourceShared(tx, id),
    /** Returns the resource server with the digests of its unexpired secrets. */
    findServer: (db: Db, clientId: string, now: Date): Promise<store.ResourceServer | undefined> =>
      store.findResourceServer(db, clientId, now),
  };
}

const clientOf = (resourceId: string): Client => ({ kind: 'resource', id: resourceId });

async function create(deps: ResourcesDeps, act: Act<Person>, input: NewResource): Promise<Resource> {
  const { db, audit, clock, ids } = deps;
  const problem = checkIdentifier(input.identifier, deps.issuer);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
  const terms = {
    ...input,
    labels: asSet(input.labels ?? resourceDefaults.labels),
    tokenTtlSeconds: input.tokenTtlSeconds ?? resourceDefaults.tokenTtlSeconds,
    tokenAlg: input.tokenAlg ?? resourceDefaults.tokenAlg,
    requireBoundTokens: input.requireBoundTokens ?? resourceDefaults.requireBoundTokens,
    authorizationDetailsTypes: input.authorizationDetailsTypes ?? [
      ...resourceDefaults.authorizationDetailsTypes,
    ],
  };
  await assertTerms(deps, terms);
  const id = ids.next('resource');
  const { connection, kind, scopes } = terms;
  const resource = { id, kind, scopes, connection: null };
  const connectionId = await prepareTarget(deps.connections, act, { resource, change: { connection } });
  return withTransaction(db, async (tx) => {
    if (!(await store.claimIdentifier(tx, terms.identifier))) return refuse('identifier-taken');
    const by = { createdAt: clock.now(), createdBy: act.caller.id };
    const resource = await store.insertResource(tx, {
      ...terms,
      ...by,
      id,
      connectionId: connectionId ?? null,
    });
    if (connectionId !== undefined) await deps.connections.sharePassword(tx, connectionId);
    const details = { identifier: terms.identifier, kind, ...describe({ ...terms, connectionId }) };
    await audit.append(tx, { ...byAct(act), type: 'resource.created', objectId: resource.id, details });
    return resource;
  });
}

/**
 * Throws `invalid-request` for duplicate scopes or invalid types of authorization details, and `conflict` for an
 * algorithm without an active key.
 */
async function assertTerms(
  deps: ResourcesDeps,
  { scopes, tokenAlg, authorizationDetailsTypes }: store.ResourceChange,
): Promise<void> {
  const duplicate = scopes === undefined ? undefined : findDuplicateScope(scopes);
  if (duplicate !== undefined) {
    throw new BrokerError('invalid-request', { detail: `scope ${duplicate} is given twice` });
  }
  const problem = typesProblem(authorizationDetailsTypes ?? []);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
  if (tokenAlg !== undefined && !(await deps.hasActiveKey(tokenAlg))) {
    throw new BrokerError('conflict', { detail: `no key can sign with ${tokenAlg} now` });
  }
}

async function list(
  { db }: ResourcesDeps,
  page: { limit: number; after?: string | undefined },
): Promise<Page<Resource>> {
  return takePage(await store.listResources(db, { ...page, limit: page.limit + 1 }), page.limit);
}

async function get({ db }: ResourcesDeps, id: string): Promise<Resource & { secrets: ClientSecret[] }> {
  const resource = await store.findResource(db, id);
  if (resource === undefined) throw new BrokerError('not-found');
  return { ...resource, secrets: await listSecrets(db, clientOf(id)) };
}

/**
 * Changes a resource. Ends the grants that use a scope that is removed or has a higher risk, or a type of
 * authorization details that is removed or changed.
 */
async function update(
  deps: ResourcesDeps,
  act: Act<Person>,
  { id, change: { connection, ...change } }: { id: string; change: ResourceUpdate },
): Promise<Resource> {
  const { db, audit, clock, grantEndings } = deps;
  await assertTerms(deps, change);
  const current = await store.findResource(db, id);
  if (current === undefined) throw new BrokerError('not-found');
  const connectionId = await prepareTarget(deps.connections, act, {
    resource: current,
    change: { scopes: change.scopes, connection },
  });
  const labels = change.labels === undefined ? undefined : asSet(change.labels);
  const terms = { ...change, labels, connectionId };
  const updated = await withTransaction(db, async (tx) => {
    const before = await store.lockResource(tx, id);
    if (before === undefined) return refuse('not-found');
    // The target was tested with the scopes and the connection as they were before.
    if (yieldsLeases(before.kind) && before.version !== current.version) return refuse('conflict');
    const at = clock.now();
    const resource = await store.updateResource(tx, { id, change: terms, at });
    if (connectionId !== undefined) await deps.connections.sharePassword(tx, connectionId);
    const selection = {
      kind: 'catalogue' as const,
      resourceId: id,
      endedScopes: endedScopes(before.scopes, resource.scopes),
      changedScopes: changedScopes(before.scopes, resource.scopes),
      endedTypes: endedTypes(before.authorizationDetailsTypes, resource.authorizationDetailsTypes),
    };
    const types = selection.endedTypes;
    const about = { ...byAct(act), objectId: id };
    const ending = { ...about, selection, at, reason: 'the catalogue of its resource changed' };
    const isNarrower = selection.changedScopes.length + types.length > 0;
    const ended = isNarrower ? await grantEndings.end(tx, ending) : 0;
    const details = {
      ...describe(terms),
      ended_scopes: selection.endedScopes,
      ...(types.length === 0 ? {} : { ended_types: types }),
      grants_ended: ended,
    };
    await audit.append(tx, { ...about, type: 'resource.updated', details });
    await endUnbound(deps, tx, { act, before, resource, at });
    return resource;
  });
  await grantEndings.settle();
  return updated;
}

/** Ends the grants that were delegated for unbound tokens of the resource if it requires bound tokens from now on. */
async function endUnbound(
  { grantEndings }: ResourcesDeps,
  tx: Tx,
  { act, before, resource, at }: { act: Act<Person>; before: Resource; resource: Resource; at: Date },
): Promise<void> {
  if (before.requireBoundTokens || !resource.requireBoundTokens) return;
  const reason = 'its resource requires bound tokens, and its subject token was not bound';
  await grantEndings.end(tx, {
    ...byAct(act),
    objectId: resource.id,
    selection: { kind: 'tokens_for_resource', resourceId: resource.id },
    reason,
    at,
  });
}

async function remove(deps: ResourcesDeps, act: Act<Person>, id: string): Promise<void> {
  const { db, audit, clock, grantEndings } = deps;
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    if (!(await store.deleteResource(tx, { id, at }))) return refuse('not-found');
    const details = { secrets_revoked: await revokeAllSecrets(tx, clientOf(id), at) };
    const about = { ...byAct(act), objectId: id };
    await audit.append(tx, { ...about, type: 'resource.deleted', details });
    const selection = { kind: 'resource' as const, resourceId: id };
    await grantEndings.end(tx, { ...about, selection, at, reason: 'its resource was deleted' });
    return undefined;
  });
  await grantEndings.settle();
}

interface SecretRequest {
  resourceId: string;
  /** Null if the secret does not expire. */
  expiresAt: Date | null;
}

async function issueSecret(
  deps: ResourcesDeps,
  act: Act<Person>,
  { resourceId, expiresAt }: SecretRequest,
): Promise<IssuedSecret> {
  return withTransaction(deps.db, async (tx) => {
    if ((await store.lockResource(tx, resourceId)) === undefined) return refuse('not-found');
    return issueClientSecret(deps, tx, { act, client: clientOf(resourceId), expiresAt });
  });
}

async function revokeSecret(
  deps: ResourcesDeps,
  act: Act<Person>,
  { resourceId, secretId }: { resourceId: string; secretId: string },
): Promise<void> {
  await withTransaction(deps.db, async (tx) => {
    if ((await store.lockResource(tx, resourceId)) === undefined) return refuse('not-found');
    const at = deps.clock.now();
    return revokeClientSecret(deps, tx, { act, client: clientOf(resourceId), secretId, at });
  });
}

function asSet(labels: readonly string[]): string[] {
  return [...new Set(labels)];
}

/** Returns the given terms for the audit log, under their names in the contract. Undefined members are not written. */
function describe(terms: store.ResourceChange): Record<string, unknown> {
  return {
    name: terms.name,
    labels: terms.labels,
    scopes: terms.scopes?.map(({ name, risk, mapping }) => ({ name, risk, ...mapping })),
    max_grant_seconds: terms.maxGrantSeconds,
    token_ttl_seconds: terms.tokenTtlSeconds,
    token_alg: terms.tokenAlg,
    require_bound_tokens: terms.requireBoundTokens,
    authorization_details_types: terms.authorizationDetailsTypes?.map(({ type }) => type),
    connection_id: terms.connectionId,
  };
}
