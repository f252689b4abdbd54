import type { Act, Person } from '../caller.ts';
import { BrokerError } from '../errors.ts';
import { canonicalJson } from '../platform/canonical-json.ts';
import type { ConnectionInput } from './connections/connection.ts';
import { type ConnectionsService, notUsable } from './connections/service.ts';
import { mappingsOf, type Resource, type ResourceKind, type Scope, yieldsLeases } from './resource.ts';
import { routeMappingProblem } from './upstreams/route-pattern.ts';

export type TargetConnections = Pick<
  ConnectionsService,
  'prepare' | 'test' | 'mappingProblem' | 'sharePassword'
>;

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
  connections: TargetConnections,
  act: Act<Person>,
  {
    resource,
    change,
  }: { resource: Pick<Resource, 'id' | 'kind' | 'scopes' | 'connection'>; change: TargetChange },
): Promise<string | undefined> {
  const { id, kind } = resource;
  const scopes = change.scopes ?? resource.scopes;
  const problem = mappingsProblem(connections, kind, scopes);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
  const mappings = mappingsOf(scopes);
  if (change.connection === undefined) {
    const isSame = canonicalJson(mappings) === canonicalJson(mappingsOf(resource.scopes));
    const problems = resource.connection === null || isSame ? [] : await connections.test(id, mappings);
    if (problems.length > 0) throw notUsable(problems);
    return undefined;
  }
  if (!yieldsLeases(kind))
    throw new BrokerError('invalid-request', { detail: `a resource of kind ${kind} has no connection` });
  const made = await connections.prepare(act, { resourceId: id, kind, input: change.connection, mappings });
  return made.id;
}

/**
 * Returns what is wrong with the mappings of scopes; undefined if they fit the kind of the resource. Each scope of an
 * engine's resource says what it means in the target, each of kind `http` has routes, and no other scope has a mapping.
 */
function mappingsProblem(
  connections: Pick<ConnectionsService, 'mappingProblem'>,
  kind: ResourceKind,
  scopes: readonly Scope[],
): string | undefined {
  for (const { name, mapping } of scopes) {
    if (kind === 'api') {
      if (mapping !== undefined)
        return `scope ${name} has a mapping, but a resource of kind ${kind} has no target`;
      continue;
    }
    if (mapping === undefined)
      return kind === 'http'
        ? `scope ${name} has no routes, so it would permit nothing`
        : `scope ${name} does not say what it means in the target`;
    if (Object.keys(mapping).length > 1) return `scope ${name} has members of several kinds of resources`;
    const problem =
      kind === 'http' ? routeMappingProblem(mapping) : connections.mappingProblem(kind, mapping);
    if (problem !== undefined) return `scope ${name}: ${problem}`;
  }
  return undefined;
}
