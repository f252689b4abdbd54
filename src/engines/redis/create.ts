import { sha256 } from '../../crypto/hash.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Random } from '../../platform/random.ts';
import { assertBefore } from '../deadline.ts';
import type { NewAccount } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import { type RuleSet, toArguments } from './rules.ts';
import type { Call, Session } from './servers.ts';
import { findUser, toUser, type User } from './users.ts';

export interface Creation {
  account: NewAccount;
  ruleSets: readonly RuleSet[];
  clock: Clock;
  random: Random;
}

/**
 * Makes an account on every server, in two steps:
 *
 * 1. A user that is off and has nothing but the placeholder: a digest for which nobody knows a password.
 * 2. One command that fails if the user does not have the placeholder; otherwise it replaces everything, and switches the user on.
 *
 * A command can run long after its timeout, when a stopped server continues and reads what it has received. If the first step
 * runs late, it makes a user that cannot log in. If the second one does, it fails, because ending the account removes the placeholder.
 */
export async function createAccount(call: Call, creation: Creation): Promise<void> {
  const { name } = creation.account;
  await call.onEach((session) => assertAbsent(session, name));
  const placeholder = creation.random.bytes(32).toString('hex');
  const made: Session[] = [];
  try {
    await call.onEach(async (session) => {
      if (await reserve(session, { ...creation, placeholder })) made.push(session);
      else throw existsFailure(name);
    });
    await call.onEach((session) => activate(session, { ...creation, placeholder }));
  } catch (error) {
    await Promise.allSettled(made.map((session) => session.ask([['ACL', 'DELUSER', name]])));
    throw error;
  }
}

const existsFailure = (name: string): TargetFailure =>
  new TargetFailure('account-exists', `a user ${name} exists`);

async function assertAbsent(session: Session, name: string): Promise<void> {
  if ((await findUser(session, name)) !== undefined) throw existsFailure(name);
}

type Step = Creation & { placeholder: string };

/** Makes the user with the placeholder. If somebody else has made the user meanwhile, removes the placeholder and returns false. */
async function reserve(session: Session, { account, clock, placeholder }: Step): Promise<boolean> {
  const { name, deadline } = account;
  const [, reply] = await session.ask(
    [
      ['ACL', 'SETUSER', name, `#${placeholder}`],
      ['ACL', 'GETUSER', name],
    ],
    { before: () => assertBefore(deadline, clock) },
  );
  const user = toUser(reply);
  if (user !== undefined && isEmpty(user) && hasOnly(user, placeholder)) return true;
  await session.ask([['ACL', 'SETUSER', name, `!${placeholder}`]]);
  return false;
}

async function activate(session: Session, { account, ruleSets, clock, placeholder }: Step): Promise<void> {
  const { name, password, deadline } = account;
  const digest = sha256(password).toString('hex');
  const rules = toArguments(ruleSets);
  const [, reply] = await session.ask(
    [
      ['ACL', 'SETUSER', name, `!${placeholder}`, 'reset', 'resetchannels', ...rules, `#${digest}`, 'on'],
      ['ACL', 'GETUSER', name],
    ],
    { before: () => assertBefore(deadline, clock) },
  );
  const user = toUser(reply);
  if (user?.isOn === true && hasOnly(user, digest)) return;
  throw new TargetFailure('refused', `the user ${name} is not as it was made`);
}

const isEmpty = ({ isOn, keys, commands }: User): boolean => !isOn && keys === '' && commands === '-@all';

const hasOnly = ({ isWithoutPassword, digests }: User, digest: string): boolean =>
  !isWithoutPassword && digests.length === 1 && digests[0] === digest;
