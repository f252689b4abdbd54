import type { Call, Session } from './servers.ts';
import { findUser } from './users.ts';

/**
 * Disables the login of an account and revokes its privileges, on every server. Its open sessions lose their privileges, too. The
 * list is stored afterwards, because a server that starts again would otherwise have the account as it was stored last.
 */
export async function disableAccess(call: Call, name: string): Promise<void> {
  await call.onEach((session) => disableOn(session, name));
}

async function disableOn(session: Session, name: string): Promise<void> {
  // ACL SETUSER would make a user that does not exist.
  if ((await findUser(session, name)) === undefined) return;
  const nothing = ['off', 'resetpass', 'resetkeys', 'resetchannels', 'clearselectors', '-@all'];
  await session.ask([['ACL', 'SETUSER', name, ...nothing]]);
  await session.save();
}
