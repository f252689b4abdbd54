import { sha256 } from '../../crypto/hash.ts';
import { TargetFailure } from '../target-failure.ts';
import type { Call, Session } from './servers.ts';

/**
 * Changes the password of the admin account on every server. The new one is added everywhere before any other is removed, so
 * that a failure leaves a password that all servers accept.
 */
export async function rotateAdmin(
  call: Call,
  admin: { username: string; password: string },
  beforeSending: () => void,
): Promise<void> {
  const digest = sha256(admin.password).toString('hex');
  const setAndSave =
    (...rules: string[]) =>
    async (session: Session): Promise<void> => {
      await session.ask([['ACL', 'SETUSER', admin.username, ...rules]], { before: beforeSending });
      await session.save();
    };
  await call.onEach(assertStored);
  await call.onEach(setAndSave(`#${digest}`));
  await call.onEach(setAndSave('resetpass', `#${digest}`));
}

/** A server without an ACL file would have the old password again when it starts again. */
async function assertStored(session: Session): Promise<void> {
  if (await session.save()) return;
  throw new TargetFailure(
    'refused',
    'the server has no ACL file (aclfile), so that its next start would bring the old password back: change it in redis.conf',
  );
}
