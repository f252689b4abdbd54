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
import { create } from './create.ts';
import type { PreflightResult, Resource } from './resource.ts';
import * as store from './store/read.ts';
import { deleteResource } from './store/write.ts';
import type { NewResource, ResourcesDeps, ResourceUpdate } from './terms.ts';
import { testDueTargets, testTarget } from './test-target.ts';
import { update } from './update.ts';
import type { UpstreamCredentialView } from './upstreams/upstream.ts';

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

async function list(
  { db }: ResourcesDeps,
  page: { limit: number; after?: string | undefined },
): Promise<Page<Resource>> {
  return takePage(await store.listResources(db, { ...page, limit: page.limit + 1 }), page.limit);
}

/** A resource with what admins see of its secrets. */
export interface ResourceDetail extends Resource {
  secrets: ClientSecret[];
  /** Empty unless its kind is `http`. */
  upstreamCredentials: UpstreamCredentialView[];
}

async function get({ db, upstreams }: ResourcesDeps, id: string): Promise<ResourceDetail> {
  const resource = await store.findResource(db, id);
  if (resource === undefined) throw new BrokerError('not-found');
  const secrets = await listSecrets(db, clientOf(id));
  const upstreamCredentials = resource.upstream === null ? [] : await upstreams.listCredentials(id);
  return { ...resource, secrets, upstreamCredentials };
}

async function remove(deps: ResourcesDeps, act: Act<Person>, id: string): Promise<void> {
  const { db, audit, clock, grantEndings, upstreams } = deps;
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    if (!(await deleteResource(tx, { id, at }))) return refuse('not-found');
    const removed = await upstreams.deleteCredentials(tx, id);
    const details = {
      secrets_revoked: await revokeAllSecrets(tx, clientOf(id), at),
      ...(removed === 0 ? {} : { upstream_credentials_removed: removed }),
    };
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
