import { TargetFailure } from '../target-failure.ts';
import { notRabbitmq } from './failure.ts';
import type { Call, RequestOptions } from './management-api.ts';
import type { StoredPassword } from './password-hash.ts';

/** A user, as far as this engine needs it. */
export interface User {
  name: string;
  /** Whether it has a password. Without one, RabbitMQ accepts no password. */
  canLogIn: boolean;
  tags: string[];
}

/** A condition on a change (RFC 9110 section 13.1): RabbitMQ checks it together with the change, and answers 412 if it is false. */
const conditions = {
  'if-missing': { 'if-none-match': '*' },
  'if-exists': { 'if-match': '*' },
};
const preconditionFailed = 412;
const notFound = 404;

interface UserChange {
  name: string;
  when: keyof typeof conditions;
  password: StoredPassword;
  /** None by default. */
  tags?: readonly string[];
  /** The limits of a new user. A change leaves them as they are. */
  limits?: Record<string, number>;
}

/**
 * Makes or changes a user. RabbitMQ overwrites an existing user without a condition, and makes one that is missing.
 *
 * @returns whether the condition was true; if not, nothing has changed
 */
export async function putUser(
  call: Call,
  { name, when, password, tags = [], limits }: UserChange,
  options: Pick<RequestOptions, 'beforeSending'> = {},
): Promise<boolean> {
  const { status } = await call.request(['users', name], {
    ...options,
    method: 'PUT',
    headers: conditions[when],
    body: { ...password, tags: tags.join(','), ...(limits === undefined ? {} : { limits }) },
    accept: [preconditionFailed],
  });
  return status !== preconditionFailed;
}

/** Finds a user; undefined if it does not exist. */
export async function findUser(call: Call, name: string): Promise<User | undefined> {
  const { status, body } = await call.request(['users', name], { accept: [notFound] });
  return status === notFound ? undefined : toUser(body);
}

/** Throws `refused` if a user can log in. Returns whether the user exists. */
export async function assertDisabled(call: Call, name: string): Promise<boolean> {
  const user = await findUser(call, name);
  if (user?.canLogIn === true) throw new TargetFailure('refused', `the user ${name} can still log in`);
  return user !== undefined;
}

/** Removes a user with its permissions and limits. Does nothing if it does not exist. */
export async function removeUser(call: Call, name: string): Promise<void> {
  await call.request(['users', name], { method: 'DELETE', accept: [notFound] });
}

/** Lists the users whose name begins with `prefix`. RabbitMQ has no filter for users: it always sends all of them. */
export async function listUsers(call: Call, prefix: string): Promise<User[]> {
  const { body } = await call.request(['users'], { query: { columns: 'name,password_hash,tags' } });
  if (!Array.isArray(body)) throw notRabbitmq();
  return body.map(toUser).filter(({ name }) => name.startsWith(prefix));
}

function toUser(value: unknown): User {
  const { name, password_hash: hash, tags } = (value ?? {}) as Record<string, unknown>;
  if (typeof name !== 'string' || typeof hash !== 'string') throw notRabbitmq();
  return { name, canLogIn: hash !== '', tags: toTags(tags) };
}

/** RabbitMQ 3.10 sends a list; other versions send a text with commas. */
const toTags = (tags: unknown): string[] =>
  Array.isArray(tags) ? tags.map(String) : String(tags ?? '').split(',');
