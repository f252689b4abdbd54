import { escapeIdentifier, escapeLiteral } from 'pg';
import type { Clock } from '../../platform/clock.ts';
import type { Random } from '../../platform/random.ts';
import { assertBefore } from '../deadline.ts';
import type { AccountRenewal, NewAccount } from '../engine.ts';
import { runBeforeDeadline } from './before-deadline.ts';
import type { Session } from './connections.ts';
import { computeVerifier, saltBytes } from './scram.ts';
import { readTargetTime } from './target-time.ts';

/** The most sessions of an account at one time. An account must not use all connections of the server. */
const maxSessions = 20;

export interface Creation {
  account: NewAccount;
  /** The roles of its mappings. */
  roles: readonly string[];
  clock: Clock;
  random: Random;
}

/** Makes a login with SCRAM-SHA-256 that is a member of the mapped roles. */
export async function createAccount(session: Session, creation: Creation): Promise<void> {
  const { account, clock, random } = creation;
  const verifier = await computeVerifier(account.password, random.bytes(saltBytes));
  const time = await readTargetTime(session, clock);
  assertBefore(account.deadline, clock);
  const statements = roleStatements(creation, { verifier, until: time.toTarget(account.expiresAt) });
  await runBeforeDeadline(session, statements, { deadline: account.deadline, time });
}

function roleStatements(
  { account, roles }: Creation,
  { verifier, until }: { verifier: string; until: Date },
): string[] {
  const name = escapeIdentifier(account.name);
  const memberships = [...new Set(roles)];
  const create = [
    `create role ${name} login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls`,
    `connection limit ${maxSessions} password ${escapeLiteral(verifier)} valid until ${escapeLiteral(until.toISOString())}`,
    // Never a privilege on an object: each would make the access control list of the object longer.
    `in role ${memberships.map(escapeIdentifier).join(', ')}`,
  ].join(' ');
  const [only, ...others] = memberships;
  if (only === undefined || others.length > 0) return [create];
  // What the account makes belongs to the mapped role, so that it outlives the account where it should.
  return [create, `alter role ${name} set role = ${escapeLiteral(only)}`];
}

/** Moves the time until which the server accepts the password of an account. */
export async function renewAccount(
  session: Session,
  { name, expiresAt }: AccountRenewal,
  clock: Clock,
): Promise<void> {
  const time = await readTargetTime(session, clock);
  const until = escapeLiteral(time.toTarget(expiresAt).toISOString());
  await session.query(`alter role ${escapeIdentifier(name)} valid until ${until}`);
}
