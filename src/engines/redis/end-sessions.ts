import { TargetFailure } from '../target-failure.ts';
import type { Call, Session } from './servers.ts';
import { canLogIn, findUser } from './users.ts';

/** The server runs one command at a time, so that no login is between two rounds. The second round confirms the first one. */
const quietRounds = 2;
const noSuchUser = /No such user/;

/**
 * Ends every session of a disabled account on every server, until the server finds none. CLIENT KILL finds clients in every state:
 * blocked, subscribed, in a transaction, or reading no replies.
 *
 * @returns the number of sessions that there were; 0 if the account does not exist
 */
export async function endSessions(call: Call, name: string): Promise<number> {
  const counts = await call.onEach((session) => endOn(session, name));
  return counts.reduce((sum, count) => sum + count, 0);
}

async function endOn(session: Session, name: string): Promise<number> {
  const user = await findUser(session, name);
  if (user !== undefined && canLogIn(user))
    throw new TargetFailure('refused', `the user ${name} can still log in`);
  let ended = 0;
  for (let quiet = 0; quiet < quietRounds; ) {
    const found = await killClients(session, name);
    quiet = found === 0 ? quiet + 1 : 0;
    ended += found;
  }
  return ended;
}

async function killClients(session: Session, name: string): Promise<number> {
  const [reply] = await session.send([['CLIENT', 'KILL', 'USER', name]]);
  if (reply?.error === undefined) return Number(reply?.value);
  // Removing a user ends its sessions.
  if (noSuchUser.test(reply.error.message)) return 0;
  throw reply.error;
}
