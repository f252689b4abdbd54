import type { CleanUp } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import { assertDisabled, listAccounts } from './accounts.ts';
import type { Session } from './connections.ts';
import { quoteAccount } from './names.ts';
import { removeAccount } from './remove.ts';

/**
 * Removes a disabled account and its role, and checks that both are gone. An account owns nothing in MariaDB: a view, a routine, a
 * trigger or an event has the account as its definer only, and the server refuses to run it once the account is gone.
 */
export async function cleanUp(session: Session, name: string): Promise<CleanUp> {
  await assertDisabled(session, name);
  await removeAccount(session, name);
  const left = await listAccounts(session, name);
  if (!left.some((account) => account.name === name)) return { isGone: true, ownedObjects: [] };
  throw new TargetFailure('refused', `the account ${quoteAccount(name)} is still there after it was dropped`);
}
