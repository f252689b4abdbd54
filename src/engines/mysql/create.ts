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
  const end = await call.onPrimary((session) => readDeadline(session, creation));
  try {
    await call.onPrimary((session) => make(session, creation, end));
  } catch (error) {
    if (numberOf(error) !== errorNumber.statementTimeout) throw error;
    throw (await call.onPrimary((session) => hasPassed(session, end))) ? deadlinePassed() : error;
  }
  try {
    await call.onPrimaryAs(account, (session) =>
      session.query(`set default role ${quoteRole(roleNameOf(account.name))}`),
    );
  } catch (error) {
    await call.onPrimary((session) => removeAccount(session, account.name));
    throw error;
  }
}

async function make(session: Session, { account, roles, clock }: Creation, end: TargetEnd): Promise<void> {
  assertBefore(account.deadline, clock);
  await session.query('set session max_statement_time = least(@@max_statement_time, ?)', [end.secondsLeft]);
  assertBefore(account.deadline, clock);
  try {
    await session.query(creationStatement({ account, roles, end }));
  } catch (error) {
    const number = numberOf(error);
    if (number === errorNumber.deadlinePassed) throw deadlinePassed();
    if (number !== errorNumber.cannotUser || (await findAccount(session, account.name)) === undefined)
      throw error;
    throw new TargetFailure('account-exists', `the account ${quoteAccount(account.name)} exists`);
  }
  await session.query(`set session max_statement_time = ${end.limitSeconds}`);
}

function deadlinePassed(): TargetFailure {
  return new TargetFailure('deadline-passed', 'the deadline passed at the target, which changed nothing');
}

interface Statement {
  account: NewAccount;
  roles: readonly string[];
  end: TargetEnd;
}

/**
 * Returns one statement that does everything, so that a broker that pauses after sending it cannot make the account later. The
 * server's clock is checked first and last, because waiting for a lock may have taken long. DDL is no part of a transaction, so the
 * handler removes what was made before an error or an interruption, but not an account that was there before.
 */
function creationStatement({ account, roles, end }: Statement): string {
  const name = quoteAccount(account.name);
  const role = quoteRole(roleNameOf(account.name));
  const check = `if sysdate(6) >= ${end.literal} then
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

/** The deadline on the clock of the server. */
interface TargetEnd {
  literal: string;
  /** How long it is until then, more than 0: that would mean no limit. */
  secondsLeft: number;
  /** The limit of statements of the session otherwise. */
  limitSeconds: number;
}

async function readDeadline(session: Session, { account, clock }: Creation): Promise<TargetEnd> {
  const [row] = await session.query<{ ms: number; limitSeconds: number }>(
    `select cast(unix_timestamp(sysdate(6)) * 1000 as double) as ms, cast(@@max_statement_time as double) as limitSeconds`,
  );
  const { ms, limitSeconds } = row ?? { ms: Number.NaN, limitSeconds: Number.NaN };
  const end = createTargetTime(ms, clock).toTarget(account.deadline);
  return {
    literal: literal(end.toISOString().replace('T', ' ').replace('Z', '')),
    secondsLeft: Math.max(0.001, (end.getTime() - ms) / 1000),
    limitSeconds,
  };
}

async function hasPassed(session: Session, { literal: end }: TargetEnd): Promise<boolean> {
  const [row] = await session.query<{ passed: number }>(`select sysdate(6) >= ${end} as passed`);
  return row?.passed === 1;
}
