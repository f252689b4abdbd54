import type { Clock } from '../../platform/clock.ts';
import type { Random } from '../../platform/random.ts';
import { assertBefore } from '../deadline.ts';
import type { NewAccount } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import type { Call } from './management-api.ts';
import { hashPassword, noPassword, saltBytes } from './password-hash.ts';
import type { AccountPermission } from './permissions.ts';
import { putUser, removeUser } from './users.ts';

/**
 * An account must not use all connections of the server. Channels are limited because RabbitMQ can wait 3 s for each of them when
 * it closes a connection whose client reads nothing.
 */
const limits = { 'max-connections': 20, 'max-channels': 100 };

export interface Creation {
  account: NewAccount;
  permissions: readonly AccountPermission[];
  clock: Clock;
  random: Random;
}

/**
 * Makes a user without a password, gives it its permissions, and then sets the password. Until then it cannot log in, so no
 * single request that the server processes late gives access: a late password comes without permissions or finds no user, and late
 * permissions come without a password. Removes the user if a step fails.
 */
export async function createAccount(call: Call, creation: Creation): Promise<void> {
  const { account, clock } = creation;
  const { name } = account;
  const beforeSending = (): void => assertBefore(account.deadline, clock);
  beforeSending();
  const isNew = await putUser(
    call,
    { name, when: 'if-missing', password: noPassword, limits },
    { beforeSending },
  );
  if (!isNew) throw new TargetFailure('account-exists', `the user ${name} exists`);
  try {
    await enableAccount(call, creation, beforeSending);
  } catch (error) {
    await removeUser(call, name);
    throw error;
  }
}

async function enableAccount(
  call: Call,
  { account: { name, password }, permissions, random }: Creation,
  beforeSending: () => void,
): Promise<void> {
  for (const { vhost, topics, configure, write, read } of permissions) {
    // First, because without them every routing key is permitted.
    for (const topic of topics) {
      await call.request(['topic-permissions', vhost, name], { method: 'PUT', body: topic, beforeSending });
    }
    const body = { configure, write, read };
    await call.request(['permissions', vhost, name], { method: 'PUT', body, beforeSending });
  }
  const stored = hashPassword(password, random.bytes(saltBytes));
  const isThere = await putUser(call, { name, when: 'if-exists', password: stored }, { beforeSending });
  if (!isThere) throw new TargetFailure('refused', `the user ${name} was removed while it was made`);
}
