import type { Session } from './connections.ts';
import { quoteAccount, quoteRole, roleNameOf } from './names.ts';

/** Removes an account and its role. Does nothing if they do not exist. */
export async function removeAccount(session: Session, name: string): Promise<void> {
  await session.query(`drop role if exists ${quoteRole(roleNameOf(name))}`);
  await session.query(`drop user if exists ${quoteAccount(name)}`);
}
