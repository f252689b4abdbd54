import { byAct } from '../audit/audit-event.ts';
import { endedTypes } from '../authorization-details/details-type.ts';
import type { Act, Person } from '../caller.ts';
import type { Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, refuse } from '../errors.ts';
import { prepareTarget } from './prepare-target.ts';
import { changedScopes, endedScopes, type Resource, yieldsLeases } from './resource.ts';
import { findResource, lockResource } from './store/read.ts';
import { updateResource } from './store/write.ts';
import { asSet, assertTerms, describe, type ResourcesDeps, type ResourceUpdate } from './terms.ts';

/**
 * Changes a resource. Ends the grants that use a scope that is removed or has a higher risk, or a type of
 * authorization details that is removed or changed.
 */
export async function update(
  deps: ResourcesDeps,
  act: Act<Person>,
  { id, change: { connection, upstream, ...change } }: { id: string; change: ResourceUpdate },
): Promise<Resource> {
  const { db, audit, clock, grantEndings } = deps;
  await assertTerms(deps, change);
  const current = await findResource(db, id);
  if (current === undefined) throw new BrokerError('not-found');
  assertUpstream(deps, current, upstream);
  const connectionId = await prepareTarget(deps.connections, act, {
    resource: current,
    change: { scopes: change.scopes, connection },
  });
  const labels = change.labels === undefined ? undefined : asSet(change.labels);
  const terms = { ...change, labels, connectionId };
  const updated = await withTransaction(db, async (tx) => {
    const before = await lockResource(tx, id);
    if (before === undefined) return refuse('not-found');
    // The target was tested with the scopes and the connection as they were before.
    if (yieldsLeases(before.kind) && before.version !== current.version) return refuse('conflict');
    const at = clock.now();
    if (upstream !== undefined && before.upstream !== null) {
      await deps.upstreams.change(tx, act, { resourceId: id, before: before.upstream, terms: upstream });
    }
    const resource = await updateResource(tx, { id, change: terms, at });
    if (connectionId !== undefined) await deps.connections.sharePassword(tx, connectionId);
    const selection = changedCatalogue(before, resource);
    const types = selection.endedTypes;
    const about = { ...byAct(act), objectId: id };
    const ending = { ...about, selection, at, reason: 'the catalogue of its resource changed' };
    const isNarrower = selection.changedScopes.length + types.length > 0;
    const ended = isNarrower ? await grantEndings.end(tx, ending) : 0;
    const details = {
      ...describe({ ...terms, upstream }),
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

/** Selects the grants that a change of a catalogue affects. */
function changedCatalogue(before: Resource, after: Resource) {
  return {
    kind: 'catalogue' as const,
    resourceId: after.id,
    endedScopes: endedScopes(before.scopes, after.scopes),
    changedScopes: changedScopes(before.scopes, after.scopes),
    endedTypes: endedTypes(before.authorizationDetailsTypes, after.authorizationDetailsTypes),
  };
}

/** Throws `invalid-request` if the resource cannot have these terms of an upstream. */
function assertUpstream(
  { upstreams }: ResourcesDeps,
  { kind, upstream: before }: Resource,
  terms: ResourceUpdate['upstream'],
): void {
  if (terms === undefined) return;
  const problem =
    before === null ? `a resource of kind ${kind} has no upstream` : upstreams.termsProblem(terms);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
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
