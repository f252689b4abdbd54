import { readFileSync } from 'node:fs';
import { BrokerError } from '../errors.ts';

/** An operating-system account by its user id and group id. */
export interface Account {
  uid: number;
  gid: number;
}

/** Preferred first: an account for the broker, one for the database, then the one that owns nothing. */
const unprivilegedNames = ['hallpass', 'postgres', 'nobody'];

/**
 * Finds the first account of `names` in an `/etc/passwd` text (passwd(5):
 * name:password:uid:gid:...) that is not root; undefined without such an account.
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
 * Chooses the account for the server's programs, because Postgres refuses to run
 * as root; undefined means the current one. Throws `unavailable` without such an account.
 */
export function chooseAccount(): Account | undefined {
  if (!isRoot()) return undefined;
  const account = findAccount(readFileSync('/etc/passwd', 'utf8'), unprivilegedNames);
  if (account !== undefined) return account;
  throw new BrokerError('unavailable', {
    detail:
      'Postgres refuses to run as root, and there is no unprivileged account to run it ' +
      `(looked for ${unprivilegedNames.join(', ')}): start as an ordinary user or set DATABASE_URL`,
  });
}

/**
 * The environment of a server program, without that of the broker: secrets reach the broker
 * through its environment, and every process of the same user can read a child's environment.
 */
export const minimalEnvironment = { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C', LC_ALL: 'C', TZ: 'UTC' };
