import { byAct } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import type { Client, ClientSecret } from '../client-secrets/client-secret.ts';
import {
  type IssuedSecret,
  issueSecret as issueClientSecret,
  listSecrets,
  revokeAllSecrets,
  revokeSecret as revokeClientSecret,
} from '../client-secrets/service.ts';
import type { Db, Tx } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, refuse } from '../errors.ts';
import { prepareTarget } from './prepare-target.ts';
import { checkIdentifier, type PreflightResult, type Resource, resourceDefaults } from './resource.ts';
import * as store from './store/read.ts';
import { claimIdentifier, deleteResource, insertResource } from './store/write.ts';
import {
  asSet,
  assertTerms,
  describe,
  type NewResource,
  type ResourcesDeps,
  type ResourceUpdate,
} from './terms.ts';
import { testDueTargets, testTarget } from './test-target.ts';
import { update } from './update.ts';

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
    if (!(await claimIdentifier(tx, terms.identifier))) return refuse('identifier-taken');
    const by = { createdAt: clock.now(), createdBy: act.caller.id };
    const resource = await insertResource(tx, {
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

async function remove(deps: ResourcesDeps, act: Act<Person>, id: string): Promise<void> {
  const { db, audit, clock, grantEndings } = deps;
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    if (!(await deleteResource(tx, { id, at }))) return refuse('not-found');
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
