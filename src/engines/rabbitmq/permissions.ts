import { isCleanText } from '../../platform/text.ts';
import type { Mapping, TopicPermission, VhostPermission } from '../mapping.ts';
import { TargetFailure } from '../target-failure.ts';
import { anyOf, patternProblem } from './pattern.ts';

const maxEntries = 20;
/** A short string of AMQP 0-9-1 (section 4.2.5.3). */
const maxNameBytes = 255;

/** `.` and `..` have another meaning in the path of a request, even if they are percent-encoded. */
const isName = (name: string): boolean =>
  !['', '.', '..'].includes(name) && Buffer.byteLength(name) <= maxNameBytes && isCleanText(name);

const nameRule = `has 1 to ${maxNameBytes} bytes and no control characters, and is not . or ..`;

/** Returns what is wrong with a mapping; undefined if it may be right. Whether its virtual hosts exist, only the target knows. */
export function mappingProblem(mapping: Mapping): string | undefined {
  if (!('permissions' in mapping)) return 'a scope of a rabbitmq resource maps to permissions';
  const { permissions } = mapping;
  if (permissions.length === 0 || permissions.length > maxEntries) {
    return `permissions needs 1 to ${maxEntries} entries`;
  }
  if (hasDuplicate(permissions.map(({ vhost }) => vhost)))
    return 'permissions has two entries for a virtual host';
  return firstProblem(permissions, permissionProblem);
}

function permissionProblem({ vhost, configure, write, read, topics = [] }: VhostPermission) {
  if (!isName(vhost)) {
    return `the name of a virtual host ${nameRule}`;
  }
  if (topics.length > maxEntries) return `topics has at most ${maxEntries} entries`;
  if (hasDuplicate(topics.map(({ exchange }) => exchange))) return 'topics has two entries for an exchange';
  return firstProblem([configure, write, read], patternProblem) ?? firstProblem(topics, topicProblem);
}

function topicProblem({ exchange, write, read }: TopicPermission): string | undefined {
  if (!isName(exchange)) return `the name of an exchange ${nameRule}`;
  // RabbitMQ puts the client identifier of MQTT there as it is. An agent chooses it: `.*` would permit everything.
  if ([write, read].some((pattern) => pattern.includes('{client_id}'))) {
    return 'a pattern for topics must not have {client_id}, which the agent chooses';
  }
  return firstProblem([write, read], patternProblem);
}

function firstProblem<T>(all: readonly T[], problemOf: (each: T) => string | undefined): string | undefined {
  for (const each of all) {
    const problem = problemOf(each);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

const hasDuplicate = (names: readonly string[]): boolean => new Set(names).size < names.length;

/** A permission with its restrictions of topics, which may be none. */
export type AccountPermission = VhostPermission & { topics: readonly TopicPermission[] };

/**
 * Returns what an account with all mappings may do: one entry for each virtual host, with everything that one of the mappings
 * permits. A restriction of topics holds for the whole account, even if another mapping does not have it.
 * Throws `refused` for a mapping that this engine does not have.
 */
export function permissionsOf(mappings: readonly Mapping[]): AccountPermission[] {
  const all = mappings.flatMap((mapping) => {
    const problem = mappingProblem(mapping);
    if (problem !== undefined || !('permissions' in mapping)) {
      throw new TargetFailure('refused', problem ?? '');
    }
    return mapping.permissions;
  });
  if (all.length === 0) throw new TargetFailure('refused', 'an account needs at least one permission');
  return groupBy(all, ({ vhost }) => vhost).map(([vhost, entries]) => ({
    vhost,
    configure: anyOf(entries.map(({ configure }) => configure)),
    write: anyOf(entries.map(({ write }) => write)),
    read: anyOf(entries.map(({ read }) => read)),
    topics: groupBy(
      entries.flatMap(({ topics = [] }) => topics),
      ({ exchange }) => exchange,
    ).map(([exchange, topics]) => ({
      exchange,
      write: anyOf(topics.map(({ write }) => write)),
      read: anyOf(topics.map(({ read }) => read)),
    })),
  }));
}

function groupBy<T>(all: readonly T[], keyOf: (each: T) => string): [key: string, group: T[]][] {
  const groups = new Map<string, T[]>();
  for (const each of all) groups.set(keyOf(each), [...(groups.get(keyOf(each)) ?? []), each]);
  return [...groups];
}
