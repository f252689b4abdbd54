import { byAct } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, refuse } from '../errors.ts';
import { prepareTarget } from './prepare-target.ts';
import { checkIdentifier, type Resource, resourceDefaults } from './resource.ts';
import { claimIdentifier, insertResource } from './store/write.ts';
import { asSet, assertTerms, describe, type NewResource, type ResourcesDeps } from './terms.ts';
import { slugProblem } from './upstreams/upstream.ts';

/** Registers a resource. A target is tested first. */
export async function create(deps: ResourcesDeps, act: Act<Person>, input: NewResource): Promise<Resource> {
  const { db, audit, clock, ids } = deps;
  const problem = checkIdentifier(input.identifier, deps) ?? upstreamProblem(deps, input);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
  const terms = withDefaults(input);
  await assertTerms(deps, terms);
  const id = ids.next('resource');
  const { connection, kind, scopes, slug, upstream } = terms;
  const resource = { id, kind, scopes, connection: null };
  const connectionId = await prepareTarget(deps.connections, act, { resource, change: { connection } });
  return withTransaction(db, async (tx) => {
    if (!(await claimIdentifier(tx, terms.identifier))) return refuse('identifier-taken');
    if (slug !== undefined && !(await deps.upstreams.isSlugFree(tx, slug))) return refuse('slug-taken');
    const by = { createdAt: clock.now(), createdBy: act.caller.id };
    const resource = await insertResource(tx, {
      ...terms,
      ...by,
      id,
      connectionId: connectionId ?? null,
    });
    if (connectionId !== undefined) await deps.connections.sharePassword(tx, connectionId);
    const details = { identifier: terms.identifier, kind, slug, ...describe({ ...terms, connectionId }) };
    await audit.append(tx, { ...byAct(act), type: 'resource.created', objectId: resource.id, details });
    if (slug === undefined || upstream === undefined) return resource;
    const added = { resourceId: id, slug, terms: upstream };
    return { ...resource, upstream: await deps.upstreams.insert(tx, act, added) };
  });
}

function withDefaults(input: NewResource) {
  return {
    ...input,
    labels: asSet(input.labels ?? resourceDefaults.labels),
    tokenTtlSeconds: input.tokenTtlSeconds ?? resourceDefaults.tokenTtlSeconds,
    tokenAlg: input.tokenAlg ?? resourceDefaults.tokenAlg,
    requireBoundTokens: input.requireBoundTokens ?? resourceDefaults.requireBoundTokens,
    authorizationDetailsTypes: input.authorizationDetailsTypes ?? [
      ...resourceDefaults.authorizationDetailsTypes,
    ],
  };
}

/** Describes what is wrong with slug and upstream for the kind of the resource; undefined if nothing is. */
function upstreamProblem(deps: ResourcesDeps, { kind, slug, upstream }: NewResource): string | undefined {
  if (kind !== 'http') {
    return slug === undefined && upstream === undefined
      ? undefined
      : `a resource of kind ${kind} has no slug and no upstream`;
  }
  if (slug === undefined) return 'a resource of kind http needs a slug';
  if (upstream === undefined) return 'a resource of kind http needs an upstream';
  return slugProblem(slug) ?? deps.upstreams.termsProblem(upstream);
}
