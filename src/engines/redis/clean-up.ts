import type { CleanUp } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import type { Call, Session } from './servers.ts';
import { toUser } from './users.ts';

/** Removes an account from every server. Keys belong to nobody in Redis, so it owns nothing. */
export async function cleanUp(call: Call, name: string): Promise<CleanUp> {
  await call.onEach((session) => removeFrom(session, name));
  return { isGone: true, ownedObjects: [] };
}

async function removeFrom(session: Session, name: string): Promise<void> {
  const [, left] = await session.ask([
    ['ACL', 'DELUSER', name],
    ['ACL', 'GETUSER', name],
  ]);
  if (toUser(left) !== undefined)
    throw new TargetFailure('refused', `the user ${name} is still there after it was removed`);
  // Also if it was removed before: storing the list may have failed then.
  await session.save();
}
