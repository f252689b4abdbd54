import { withTransaction } from '../db/transaction.ts';
import { BrokerError } from '../errors.ts';
import { addSeconds } from '../platform/clock.ts';
import { isBootstrapKey, keyExpiry, roles } from './admin.ts';
import { type AdminsDeps, type IssuedKey, keepKey, makeKey, startActor } from './service.ts';
import * as store from './store.ts';

const bootstrapEmail = 'bootstrap@localhost';
const recoverySeconds = 24 * 3600;

/**
 * Creates the person `bootstrap`, with all three roles and the key `key`, unless the bootstrap admin was ever created. Takes
 * a lock, so that only one of several replicas that start together creates the person. Returns whether this call did.
 * Throws `invalid-request` if the key is too weak.
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
 * Gives the person with this e-mail address the role `admin`, and a new key that is valid for one day. An operator calls
 * this (`hallpass admin recover`) when no admin has a key any more. Appends audit events. Throws `not-found`.
 */
export async function recoverAdmin(deps: AdminsDeps, email: string): Promise<IssuedKey> {
  const { db, audit, clock } = deps;
  return withTransaction(db, async (tx) => {
    const admin = await store.findAdminByEmail(tx, email.toLowerCase());
    if (admin === undefined)
      throw new BrokerError('not-found', { detail: 'no person has this e-mail address' });
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
