import { readFileSync } from 'node:fs';
import { BrokerError } from '../../errors.ts';

/** An operating-system account by its numbers. */
export interface Account {
  uid: number;
  gid: number;
}

/** Preferred first: an account made for us, then the database's own, then the one that owns nothing. */
const unprivilegedNames = ['hallpass', 'postgres', 'nobody'];

/**
 * The first account of `names` in an `/etc/passwd` text (passwd(5): name:password:uid:gid:...) that is not
 * root; undefined if there is none.
 */
export function findAccount(passwd: string, names: readonly string[]): Account | undefined {
  const accounts = new Map<string, Account>();
  for (const line of passwd.split('\n')) {
    const [name, , uid, gid] = line.split(':');
    if (name === undefined || !/^\d+$/.test(uid ?? '') || !/^\d+$/.test(gid ?? '')) continue;
    if (Number(uid) !== 0) accounts.set(name, { uid: Number(uid), gid: Number(gid) });
  }
  for (const name of names) {
    const account = accounts.get(name);
    if (account !== undefined) return account;
  }
  return undefined;
}

export function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/**
 * The account the server's programs must run as, since Postgres refuses to run as root: undefined means our own.
 * Throws `unavailable` where there is none.
 */
export function chooseAccount(): Account | undefined {
  if (!isRoot()) return undefined;
  const account = findAccount(readFileSync('/etc/passwd', 'utf8'), unprivilegedNames);
  if (account !== undefined) return account;
  throw new BrokerError('unavailable', {
    detail:
      'the embedded Postgres does not run as root and there is no account to run it as ' +
      `(looked for ${unprivilegedNames.join(', ')}): start as an ordinary user or set DATABASE_URL`,
  });
}

/**
 * What a server program sees of our environment: nothing. Secrets reach the broker through its environment, and a
 * child's environment can be read by everyone who runs as its user.
 */
export const minimalEnvironment = { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C', LC_ALL: 'C', TZ: 'UTC' };
