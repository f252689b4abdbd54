import { TargetFailure } from '../target-failure.ts';
import { notRabbitmq } from './failure.ts';
import type { Call } from './management-api.ts';
import type { StoredPassword } from './password-hash.ts';
import { findUser, putUser } from './users.ts';

const notFound = 404;

/** Sets another password of the admin account, which keeps its tags. */
export async function changeAdminPassword(
  call: Call,
  { name, password }: { name: string; password: StoredPassword },
  beforeSending: () => void,
): Promise<void> {
  const user = await findUser(call, name);
  const isThere =
    user !== undefined &&
    (await putUser(call, { name, when: 'if-exists', password, tags: user.tags }, { beforeSending }));
  if (isThere) return;
  throw new TargetFailure('refused', `RabbitMQ does not store the user ${name} itself`);
}

/** Returns the identifier that RabbitMQ gave the cluster when it was made; undefined if there is none. */
export async function readClusterId(call: Call): Promise<string | undefined> {
  const path = ['global-parameters', 'internal_cluster_id'];
  const { status, body } = await call.request(path, { accept: [notFound] });
  if (status === notFound) return undefined;
  const { value } = (body ?? {}) as { value?: unknown };
  if (typeof value !== 'string') throw notRabbitmq();
  return value;
}
