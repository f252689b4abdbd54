import type { CleanUp } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import { closeSessions } from './end-sessions.ts';
import type { Call } from './management-api.ts';
import { assertDisabled, findUser, removeUser } from './users.ts';

/**
 * Removes a disabled user with its permissions and limits. What it has declared belongs to the virtual host and stays. Closes
 * sessions of the name once more, because a session survives the removal of its user.
 */
export async function cleanUp(call: Call, name: string): Promise<CleanUp> {
  if (await assertDisabled(call, name)) await removeUser(call, name);
  if ((await findUser(call, name)) !== undefined) {
    throw new TargetFailure('refused', `the user ${name} is still there after it was removed`);
  }
  while ((await closeSessions(call, name)).length > 0) call.signal.throwIfAborted();
  return { isGone: true, ownedObjects: [] };
}
