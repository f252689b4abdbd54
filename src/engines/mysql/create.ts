import type { Clock } from '../../platform/clock.ts';
import { assertBefore } from '../deadline.ts';
import type { NewAccount } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import { createTargetTime } from '../target-time.ts';
import { findAccount } from './accounts.ts';
import type { Call, Session } from './connections.ts';
import { errorNumber, numberOf } from './failure.ts';
import { literal, quoteAccount, quoteRole, roleNameOf } from './names.ts';
import { computeVerifier } from './native-password.ts';
import { removeAccount } from './remove.ts';

/** The most sessions of an account at one time. An account must not use all connections of the server. */
const maxSessions = 20;

export interface Creation {
  account: NewAccount;
  /** The roles of its mappings. */
  roles: readonly string[];
  clock: Clock;
}

/**
 * Makes an account and its role, which has the mapped roles. Then the account itself makes this role its default: another account
 * needs UPDATE on the schema `mysql` for that. Until then the account has nothing when it logs in.
 */
export async function createAccount(call: Call, creation: Creation): Promise<void> {
  const { account } = creation;
  await call.onPrimary((session) => make(session, creation));
  try {
    await call.onPrimaryAs(account, (session) =>
      session.query(`set default role ${quoteRole(roleNameOf(account.name))}`),
    );
  } catch (error) {
    await call.onPrimary((session) => removeAccount(session, account.name));
    throw error;
  }
}

async function make(session: Session, { account, roles, clock }: Creation): Promise<void> {
  const { name, deadline } = account;
  const end = await readDeadline(session, deadline, clock);
  assertBefore(deadline, clock);
  // It limits the next statements, of which none waits with a shorter limit. The session is set up again afterwards.
  await session.query('set session max_statement_time = least(@@max_statement_time, ?)', [end.secondsLeft]);
  assertBefore(deadline, clock);
  try {
    await session.query(creationStatement({ account, roles, end: end.literal }));
  } catch (error) {
    const number = numberOf(error);
    if (number === errorNumber.deadlinePassed) throw deadlinePassed();
    if (number === errorNumber.cannotUser && (await findAccount(session, name)) !== undefined) {
      throw new TargetFailure('account-exists', `the account ${quoteAccount(name)} exists`);
    }
    if (number !== errorNumber.statementTimeout) throw error;
    // A statement that is interrupted does not undo what it has done.
    await removeAccount(session, name);
    throw (await hasPassed(session, end.literal)) ? deadlinePassed() : error;
  }
}

function deadlinePassed(): TargetFailure {
  return new TargetFailure('deadline-passed', 'the deadline passed at the target, which made nothing');
}

interface Statement {
  account: NewAccount;
  roles: readonly string[];
  end: string;
}

/**
 * Returns one statement that does everything, so that a broker that pauses after sending it cannot make the account later. The
 * server's clock is checked first and last, because waiting for a lock may have taken long. DDL is no part of a transaction, so the
 * handler removes what was made before an error, but not an account that was there before.
 */
function creationStatement({ account, roles, end }: Statement): string {
  const name = quoteAccount(account.name);
  const role = quoteRole(roleNameOf(account.name));
  const check = `if sysdate(6) >= ${end} then
    signal sqlstate '45000' set mysql_errno = ${errorNumber.deadlinePassed}, message_text = 'the deadline has passed';
  end if;`;
  return `begin not atomic
  ${check}
  create user ${name} identified via mysql_native_password using ${literal(computeVerifier(account.password))}
    with max_user_connections ${maxSessions};
  begin
    declare exit handler for sqlexception
    begin
      drop role if exists ${role};
      drop user if exists ${name};
      resignal;
    end;
    create role ${role};
    ${roles.map((each) => `grant ${quoteRole(each)} to ${role};`).join('\n    ')}
    grant ${role} to ${name};
    ${check}
  end;
end`;
}

/** Reads the clock of the server, and returns the deadline on that clock as a literal, with the seconds until then. */
async function readDeadline(session: Session, deadline: Date, clock: Clock) {
  const [row] = await session.query<{ ms: number }>(
    'select cast(unix_timestamp(sysdate(6)) * 1000 as double) as ms',
  );
  const ms = row?.ms ?? Number.NaN;
  const end = createTargetTime(ms, clock).toTarget(deadline);
  // 0 would mean no limit.
  const secondsLeft = Math.max(0.001, (end.getTime() - ms) / 1000);
  return { literal: literal(end.toISOString().replace('T', ' ').replace('Z', '')), secondsLeft };
}

async function hasPassed(session: Session, end: string): Promise<boolean> {
  const [row] = await session.query<{ passed: number }>(`select sysdate(6) >= ${end} as passed`);
  return row?.passed === 1;
}
