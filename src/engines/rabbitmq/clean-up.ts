import type { CleanUp } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import type { CloseSession } from './close-session.ts';
import { endSessions } from './end-sessions.ts';
import type { Call } from './management-api.ts';
import { assertDisabled, findUser, removeUser } from './users.ts';

export interface Removal {
  name: string;
  closeSession: CloseSession;
}

/**
 * Removes a disabled user with its permissions and limits. What it has declared belongs to the virtual host and stays. Looks for
 * sessions again, because a session can survive the removal of its user.
 */
export async function cleanUp(call: Call, { name, closeSession }: Removal): Promise<CleanUp> {
  if (await assertDisabled(call, name)) await removeUser(call, name);
  if ((await findUser(call, name)) !== undefined) {
    throw new TargetFailure('refused', `the user ${name} is still there after it was removed`);
  }
  await endSessions(call, { name, closeSession, quietRounds: 1 });
  return { isGone: true, ownedObjects: [] };
}
