import { withTransaction } from '../db/transaction.ts';
import { BrokerError } from '../errors.ts';
import { addSeconds } from '../platform/clock.ts';
import { isBootstrapKey, keyExpiry, roles } from './admin.ts';
import { type AdminsDeps, type IssuedKey, keepKey, makeKey, startActor } from './service.ts';
import * as store from './store.ts';

const bootstrapEmail = 'bootstrap@localhost';
const recoverySeconds = 24 * 3600;

/**
 * Makes the person `bootstrap`, with all three roles and the key `key`, unless that was ever done. Under a lock:
 * replicas that start together make one. Answers whether this call did it.
 */
export async function bootstrapAdmin(deps: AdminsDeps, key: string): Promise<boolean> {
  if (!isBootstrapKey(key))
    throw new BrokerError('invalid-request', { detail: 'the bootstrap key is too weak' });
  const { db, audit, clock, ids } = deps;
  return withTransaction(db, async (tx) => {
    if (await store.lockBootstrap(tx)) return false;
    const now = clock.now();
    const id = ids.next('admin');
    const person = { id, name: 'bootstrap', email: bootstrapEmail, roles: [...roles], groups: [] };
    await store.insertAdmin(tx, { ...person, createdAt: now, updatedAt: now, createdBy: null });
    await store.claimBootstrap(tx, { adminId: id, at: now });
    await audit.append(tx, { actor: startActor, type: 'admin.bootstrapped', objectId: id });
    const expiresAt = keyExpiry(now, undefined) ?? now;
    await keepKey(deps, tx, {
      adminId: id,
      name: 'bootstrap',
      issuedBy: null,
      expiresAt,
      key,
      actor: startActor,
    });
    return true;
  });
}

/**
 * Gives the person with this e-mail address the role `admin` again and a new key that is good for a day: for
 * whoever can reach the database, when the last key is lost. Recorded like everything else.
 */
export async function recoverAdmin(deps: AdminsDeps, email: string): Promise<IssuedKey> {
  const { db, audit, clock } = deps;
  return withTransaction(db, async (tx) => {
    const admin = await store.findAdminByEmail(tx, email.toLowerCase());
    if (admin === undefined) throw new BrokerError('not-found', { detail: 'nobody has this e-mail address' });
    const now = clock.now();
    await store.updateAdmin(tx, {
      id: admin.id,
      change: { roles: [...new Set([...admin.roles, 'admin' as const])] },
      at: now,
    });
    await audit.append(tx, { actor: startActor, type: 'admin.recovered', objectId: admin.id });
    const expiresAt = addSeconds(now, recoverySeconds);
    return makeKey(deps, tx, {
      adminId: admin.id,
      name: 'recovery',
      issuedBy: null,
      expiresAt,
      actor: startActor,
    });
  });
}
