import { byAct, type NewAuditEvent } from '../audit/audit-event.ts';
import { type DetailsType, endedTypes, typesProblem } from '../authorization-details/details-type.ts';
import type { Act, Person } from '../caller.ts';
import type { Client, ClientSecret } from '../client-secrets/client-secret.ts';
import {
  type ClientSecretsDeps,
  type IssuedSecret,
  issueSecret as issueClientSecret,
  revokeSecret as revokeClientSecret,
} from '../client-secrets/service.ts';
import { listSecrets, revokeAllSecrets } from '../client-secrets/store.ts';
import type { SigningAlg } from '../crypto/algorithms.ts';
import type { Db, Tx } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, refuse } from '../errors.ts';
import {
  changedScopes,
  checkIdentifier,
  endedScopes,
  findDuplicateScope,
  type Resource,
  type ResourceKind,
  resourceDefaults,
  type Scope,
} from './resource.ts';
import * as store from './store.ts';

export interface ResourcesDeps extends ClientSecretsDeps {
  db: Db;
  /** Nothing under it can be a resource. */
  issuer: string;
  /** Whether a key can sign with `alg` now: a resource chooses no algorithm without one. */
  hasActiveKey: (alg: SigningAlg) => Promise<boolean>;
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
}

export type ResourcesService = ReturnType<typeof createResourcesService>;

/** What agents may reach, its catalogue of scopes, and the client secrets of its servers. */
export function createResourcesService(deps: ResourcesDeps) {
  return {
    create: (act: Act<Person>, resource: NewResource) => create(deps, act, resource),
    list: (page: { limit: number; after?: string | undefined }) => list(deps, page),
    get: (id: string) => get(deps, id),
    update: (act: Act<Person>, id: string, change: store.ResourceChange) => update(deps, act, { id, change }),
    remove: (act: Act<Person>, id: string) => remove(deps, act, id),
    issueSecret: (act: Act<Person>, secret: SecretRequest) => issueSecret(deps, act, secret),
    revokeSecret: (act: Act<Person>, secret: { resourceId: string; secretId: string }) =>
      revokeSecret(deps, act, secret),
    /** Undefined if it is unknown or deleted, as for the next three. */
    find: (db: Db, id: string): Promise<Resource | undefined> => store.findResource(db, id),
    /** By its identifier, or by one that differs by one trailing slash. */
    findByIdentifier: (db: Db, identifier: string): Promise<Resource | undefined> =>
      store.findResourceByIdentifier(db, identifier),
    /** The resource, which nobody changes until the transaction ends. */
    lockShared: (tx: Tx, id: string): Promise<Resource | undefined> => store.lockResourceShared(tx, id),
    /** With the digests of its live secrets. */
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
  return withTransaction(db, async (tx) => {
    if (!(await store.claimIdentifier(tx, terms.identifier))) return refuse('identifier-taken');
    const by = { createdAt: clock.now(), createdBy: act.caller.id };
    const resource = await store.insertResource(tx, { ...terms, ...by, id: ids.next('resource') });
    const details = { identifier: terms.identifier, kind: terms.kind, ...describe(terms) };
    await audit.append(tx, { ...byAct(act), type: 'resource.created', objectId: resource.id, details });
    return resource;
  });
}

/**
 * Throws `invalid-request` for a scope that is there twice and for types of authorization details that cannot be, `conflict`
 * for an algorithm that nothing can sign with.
 */
async function assertTerms(
  deps: ResourcesDeps,
  { scopes, tokenAlg, authorizationDetailsTypes }: store.ResourceChange,
): Promise<void> {
  const duplicate = scopes === undefined ? undefined : findDuplicateScope(scopes);
  if (duplicate !== undefined) {
    throw new BrokerError('invalid-request', { detail: `scope ${duplicate} is there twice` });
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
 * Changes a resource, and ends the grants that use a scope which is taken out or whose risk is raised, or a type of
 * authorization detail which is taken out or changed.
 */
async function update(
  deps: ResourcesDeps,
  act: Act<Person>,
  { id, change }: { id: string; change: store.ResourceChange },
): Promise<Resource> {
  const { db, audit, clock } = deps;
  await assertTerms(deps, change);
  const terms = change.labels === undefined ? change : { ...change, labels: asSet(change.labels) };
  return withTransaction(db, async (tx) => {
    const before = await store.lockResource(tx, id);
    if (before === undefined) return refuse('not-found');
    const at = clock.now();
    const resource = await store.updateResource(tx, { id, change: terms, at });
    const scopes = endedScopes(before.scopes, resource.scopes);
    const changed = changedScopes(before.scopes, resource.scopes);
    const types = endedTypes(before.authorizationDetailsTypes, resource.authorizationDetailsTypes);
    const ending = { resourceId: id, ended: scopes, changed, types, by: act.caller.id, at };
    const ended = changed.length + types.length === 0 ? [] : await store.endGrantsUsing(tx, ending);
    const details = {
      ...describe(terms),
      ended_scopes: scopes,
      ...(types.length === 0 ? {} : { ended_types: types }),
      grants_ended: ended.length,
    };
    await audit.append(tx, { ...byAct(act), type: 'resource.updated', objectId: id, details });
    await recordEndings(deps, tx, { act, resourceId: id, ended });
    return resource;
  });
}

async function recordEndings(
  { audit }: ResourcesDeps,
  tx: Tx,
  { act, resourceId, ended }: { act: Act<Person>; resourceId: string; ended: store.EndedGrant[] },
): Promise<void> {
  const events = ended.map(
    (grant): NewAuditEvent => ({
      ...byAct(act),
      type: `grant.${grant.status}`,
      agentId: grant.agentId,
      grantId: grant.id,
      objectId: resourceId,
      details: { reason: grant.reason },
    }),
  );
  await audit.appendAll(tx, events);
}

async function remove({ db, audit, clock }: ResourcesDeps, act: Act<Person>, id: string): Promise<void> {
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    if (!(await store.deleteResource(tx, { id, at }))) return refuse('not-found');
    const details = { secrets_revoked: await revokeAllSecrets(tx, clientOf(id), at) };
    await audit.append(tx, { ...byAct(act), type: 'resource.deleted', objectId: id, details });
    return undefined;
  });
}

interface SecretRequest {
  resourceId: string;
  /** Null: never. */
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
    return revokeClientSecret(deps, tx, { act, client: clientOf(resourceId), secretId });
  });
}

function asSet(labels: readonly string[]): string[] {
  return [...new Set(labels)];
}

/** Terms under the contract's names, of scopes name and risk; those that are undefined do not get into the record. */
function describe(terms: store.ResourceChange): Record<string, unknown> {
  return {
    name: terms.name,
    labels: terms.labels,
    scopes: terms.scopes?.map(({ name, risk }) => ({ name, risk })),
    max_grant_seconds: terms.maxGrantSeconds,
    token_ttl_seconds: terms.tokenTtlSeconds,
    token_alg: terms.tokenAlg,
    require_bound_tokens: terms.requireBoundTokens,
    authorization_details_types: terms.authorizationDetailsTypes?.map(({ type }) => type),
  };
}
