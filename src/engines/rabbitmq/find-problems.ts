import type { TargetConnection, TargetProblem } from '../engine.ts';
import type { TopicPermission } from '../mapping.ts';
import { grantAdministrator, notRabbitmq, quoteArgument } from './failure.ts';
import type { Call } from './management-api.ts';
import type { AccountPermission } from './permissions.ts';

/** The first version that closes the connections of a user by the HTTP API. */
const oldest = [3, 10, 8] as const;
const notFound = 404;
const defaultVhost = '/';

/**
 * Returns what the admin account and the server lack, and what mappings name that does not exist: each with the command that fixes
 * it.
 */
export async function findProblems(
  call: Call,
  connection: TargetConnection,
  permissions: readonly AccountPermission[],
): Promise<TargetProblem[]> {
  const { body } = await call.request(['whoami']);
  const { tags } = (body ?? {}) as { tags?: unknown };
  if (!String(tags).split(',').includes('administrator')) {
    return [
      {
        problem: 'the admin account lacks the tag administrator',
        statement: grantAdministrator(connection.username),
      },
    ];
  }
  const found = [
    await findVersionProblem(call),
    await findLimitProblem(call),
    findReplicaProblem(connection),
  ].filter((problem) => problem !== undefined);
  if (found.length > 0) return found;
  return findMappingProblems(call, connection, permissions);
}

async function findVersionProblem(call: Call): Promise<TargetProblem | undefined> {
  const { body } = await call.request(['overview'], { query: { columns: 'rabbitmq_version' } });
  const { rabbitmq_version: version } = (body ?? {}) as { rabbitmq_version?: unknown };
  if (typeof version !== 'string') throw notRabbitmq();
  if (isAtLeast(version.split(/[.+-]/).map(Number), oldest)) return undefined;
  return { problem: `the server is RabbitMQ ${version}; ${oldest.join('.')} or newer is needed` };
}

function isAtLeast(version: readonly number[], least: readonly number[]): boolean {
  const index = least.findIndex((number, position) => version[position] !== number);
  return index === -1 || (version[index] ?? 0) > (least[index] ?? 0);
}

/** Without this feature flag RabbitMQ ignores the limit of connections. */
async function findLimitProblem(call: Call): Promise<TargetProblem | undefined> {
  const { body } = await call.request(['feature-flags']);
  const flags = Array.isArray(body) ? (body as { name?: unknown; state?: unknown }[]) : [];
  if (!flags.some(({ name, state }) => name === 'user_limits' && state !== 'enabled')) return undefined;
  return {
    problem: 'the feature flag user_limits is not enabled, so nothing limits the connections of an account',
    statement: 'rabbitmqctl enable_feature_flag user_limits',
  };
}

function findReplicaProblem({ replicas }: TargetConnection): TargetProblem | undefined {
  if (replicas.length === 0) return undefined;
  return {
    problem: 'RabbitMQ has no replicas with the same accounts: one node reaches all nodes of its cluster',
  };
}

async function findMappingProblems(
  call: Call,
  { database = defaultVhost }: TargetConnection,
  permissions: readonly AccountPermission[],
): Promise<TargetProblem[]> {
  const checked = await Promise.all(
    permissions.map(async (permission) => ({
      vhost: permission.vhost,
      problems: await findVhostProblems(call, permission),
    })),
  );
  const problems = checked.flatMap((each) => each.problems);
  if (problems.length > 0 || checked.some(({ vhost }) => vhost === database)) return problems;
  return [
    {
      problem: `no mapping has a permission in the virtual host ${JSON.stringify(database)}, to which agents connect`,
    },
  ];
}

async function findVhostProblems(call: Call, { vhost, topics }: AccountPermission): Promise<TargetProblem[]> {
  const { status } = await call.request(['vhosts', vhost], { accept: [notFound] });
  if (status === notFound) {
    return [
      {
        problem: `the virtual host ${JSON.stringify(vhost)} does not exist`,
        statement: `rabbitmqctl add_vhost ${quoteArgument(vhost)}`,
      },
    ];
  }
  const problems = await Promise.all(topics.map((topic) => findTopicProblem(call, vhost, topic)));
  return problems.filter((problem) => problem !== undefined);
}

/** RabbitMQ ignores a restriction of topics for an exchange of another type, and it accepts one for an exchange that is missing. */
async function findTopicProblem(
  call: Call,
  vhost: string,
  { exchange }: TopicPermission,
): Promise<TargetProblem | undefined> {
  const { status, body } = await call.request(['exchanges', vhost, exchange], { accept: [notFound] });
  const what = `the exchange ${JSON.stringify(exchange)} in the virtual host ${JSON.stringify(vhost)}`;
  if (status === notFound) return { problem: `${what} does not exist` };
  const { type } = (body ?? {}) as { type?: unknown };
  if (type === 'topic') return undefined;
  return { problem: `${what} is not a topic exchange, so its routing keys cannot be restricted` };
}
