import type { Act, Person } from '../caller.ts';
import { BrokerError } from '../errors.ts';
import { canonicalJson } from '../platform/canonical-json.ts';
import type { ConnectionInput } from './connections/connection.ts';
import { type ConnectionsService, notUsable } from './connections/service.ts';
import { isEngineKind, mappingsOf, mappingsProblem, type Resource, type Scope } from './resource.ts';

export interface TargetChange {
  /** The scopes and the connection as an admin writes them; undefined if they do not change. */
  scopes?: readonly Scope[] | undefined;
  connection?: ConnectionInput | undefined;
}

/**
 * Checks the mappings and the connection that an admin writes for a resource, also against the target, before the
 * resource has them. Returns the id of the new connection; undefined if the connection does not change. Throws
 * `invalid-request`, and `target-not-usable` with the `problems` of the target.
 */
export async function prepareTarget(
  connections: Pick<ConnectionsService, 'prepare' | 'test'>,
  act: Act<Person>,
  { resource, change }: { resource: Pick<Resource, 'id' | 'kind' | 'scopes' | 'connection'>; change: TargetChange },
): Promise<string | undefined> {
  const { id, kind } = resource;
  const scopes = change.scopes ?? resource.scopes;
  const problem = mappingsProblem(kind, scopes);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
  const mappings = mappingsOf(scopes);
  if (change.connection === undefined) {
    const isSame = canonicalJson(mappings) === canonicalJson(mappingsOf(resource.scopes));
    const problems = resource.connection === null || isSame ? [] : await connections.test(id, mappings);
    if (problems.length > 0) throw notUsable(problems);
    return undefined;
  }
  if (!isEngineKind(kind))
    throw new BrokerError('invalid-request', { detail: `a resource of kind ${kind} has no connection` });
  const made = await connections.prepare(act, { resourceId: id, kind, input: change.connection, mappings });
  return made.id;
}
