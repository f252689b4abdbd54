import { notRabbitmq } from './failure.ts';
import type { Call } from './management-api.ts';
import { noPassword } from './password-hash.ts';
import { putUser } from './users.ts';

const notFound = 404;

/**
 * Takes the password from a user, and then its permission in every virtual host. Restrictions of topics stay until the user is
 * removed, because without them an open session could use more routing keys. Does nothing if the user does not exist.
 */
export async function disableAccess(call: Call, name: string): Promise<void> {
  const isThere = await putUser(call, { name, when: 'if-exists', password: noPassword });
  if (!isThere) return;
  const { body } = await call.request(['users', name, 'permissions'], { accept: [notFound] });
  const vhosts = Array.isArray(body) ? body.map(toVhost) : [];
  await Promise.all(
    vhosts.map((vhost) =>
      call.request(['permissions', vhost, name], { method: 'DELETE', accept: [notFound] }),
    ),
  );
}

function toVhost(permission: unknown): string {
  const { vhost } = (permission ?? {}) as Record<string, unknown>;
  if (typeof vhost !== 'string') throw notRabbitmq();
  return vhost;
}
