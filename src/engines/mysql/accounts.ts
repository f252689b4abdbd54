import type { FoundAccount } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import type { Session } from './connections.ts';
import { anyHost, literal, quoteAccount, roleSuffix } from './names.ts';
import { computeVerifier } from './native-password.ts';

/** Whether an account may log in as far as its lock is concerned. */
const isUnlocked = `coalesce(json_value(Priv, '$.account_locked'), '0') <> '1'`;

/** Finds an account by its name; undefined if the server has none. */
export async function findAccount(
  session: Session,
  name: string,
): Promise<Pick<FoundAccount, 'canLogIn'> | undefined> {
  const [row] = await session.query<{ canLogIn: number }>(
    `select ${isUnlocked} as canLogIn from mysql.global_priv where Host = ? and User = ?`,
    [anyHost, name],
  );
  return row === undefined ? undefined : { canLogIn: row.canLogIn === 1 };
}

/** Throws `refused` if an account can still log in. */
export async function assertDisabled(session: Session, name: string): Promise<void> {
  const account = await findAccount(session, name);
  if (account?.canLogIn === true) {
    throw new TargetFailure('refused', `the account ${quoteAccount(name)} can still log in`);
  }
}

/** Finds the accounts whose name begins with `prefix`. A role whose account is gone counts, so that it is removed, too. */
export async function listAccounts(session: Session, prefix: string): Promise<FoundAccount[]> {
  const rows = await session.query<{ name: string; canLogIn: number }>(
    `select name, max(canLogIn) as canLogIn from (
       select User as name, ${isUnlocked} as canLogIn from mysql.global_priv where Host = ?
       union all
       select left(User, char_length(User) - ${roleSuffix.length}), 0 from mysql.global_priv
        where Host = '' and right(User, ${roleSuffix.length}) = ${literal(roleSuffix)}
     ) found
     where left(name, char_length(?)) = ? group by name order by name`,
    [anyHost, prefix, prefix],
  );
  return rows.map(({ name, canLogIn }) => ({ name, canLogIn: canLogIn === 1, expiresAt: null }));
}

/** Changes the password of the account of this session. */
export async function changeOwnPassword(session: Session, password: string): Promise<void> {
  await session.query('set password = ?', [computeVerifier(password)]);
}

/** Returns a name that differs for two servers. A replica is another server. */
export async function readServerName(session: Session): Promise<string | undefined> {
  const [row] = await session.query<{ name: string }>(
    `select concat_ws(' ', 'mariadb', @@hostname, @@port, @@datadir) as name`,
  );
  return row?.name;
}
