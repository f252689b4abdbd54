import { findAccount } from './accounts.ts';
import type { Session } from './connections.ts';
import { quoteAccount, quoteRole, roleNameOf } from './names.ts';

/**
 * Locks an account, then drops its role, makes its password unusable and revokes the privileges that were granted to it directly. The lock is
 * a statement of its own, because it must succeed even if a later step fails. An account may change its own password, but not its lock.
 */
export async function disableAccess(session: Session, name: string): Promise<void> {
  const account = quoteAccount(name);
  const exists = (await findAccount(session, name)) !== undefined;
  if (exists) await session.query(`alter user if exists ${account} account lock`);
  await session.query(`drop role if exists ${quoteRole(roleNameOf(name))}`);
  if (!exists) return;
  // No password has this value as its hash.
  await session.query(`alter user if exists ${account} identified via mysql_native_password using 'invalid'`);
  await session.query(`revoke all privileges, grant option from ${account}`);
}
