import type { Audit } from '../audit/audit.ts';
import { type Actor, byAct, systemActor } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import { hashSecret } from '../crypto/hash.ts';
import type { Db, Tx } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { violates } from '../db/sqlstate.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, type Refusal, refuse } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import { generateSecret, type Random } from '../platform/random.ts';
import { type Admin, type AdminKey, keyExpiry, normaliseEmail } from './admin.ts';
import * as keyStore from './keys/store.ts';
import * as store from './store.ts';

export interface AdminsDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  random: Random;
  ids: Ids;
}

export interface NewAdmin {
  name: string;
  email: string;
  roles: Admin['roles'];
  groups: string[];
}

export interface IssuedKey {
  id: string;
  /** The key itself, which is returned only once: the database has only its digest. */
  key: string;
  expiresAt: Date;
}

export type AdminsService = ReturnType<typeof createAdminsService>;

/**
 * Creates the service for people and their keys. Roles are read from the database for every request and are never
 * cached.
 */
export function createAdminsService(deps: AdminsDeps) {
  return {
    create: (act: Act<Person>, admin: NewAdmin) => create(deps, act, admin),
    list: (page: { limit: number; after?: string | undefined }) => list(deps, page),
    get: (id: string) => get(deps, id),
    /** Returns all people who have the role `approver` now. */
    listApprovers: (db: Db) => store.listApprovers(db, deps.clock.now()),
    update: (act: Act<Person>, id: string, change: store.AdminChange) => update(deps, act, { id, change }),
    remove: (act: Act<Person>, id: string) => remove(deps, act, id),
    issueKey: (act: Act<Person>, key: KeyRequest) => issueKey(deps, act, key),
    revokeKey: (act: Act<Person>, key: { adminId: string; keyId: string }) => revokeKey(deps, act, key),
  };
}

async function create(
  { db, audit, clock, ids }: AdminsDeps,
  act: Act<Person>,
  input: NewAdmin,
): Promise<Admin> {
  const now = clock.now();
  const email = normaliseEmail(input.email);
  const admin: Admin = { ...input, email, id: ids.next('admin'), createdAt: now, updatedAt: now };
  return withUniqueEmail(() =>
    withTransaction(db, async (tx) => {
      await store.insertAdmin(tx, { ...admin, createdBy: act.caller.id });
      const details = { roles: admin.roles, groups: admin.groups };
      await audit.append(tx, { ...byAct(act), type: 'admin.created', objectId: admin.id, details });
      return admin;
    }),
  );
}

async function list(
  { db }: AdminsDeps,
  page: { limit: number; after?: string | undefined },
): Promise<Page<Admin>> {
  return takePage(await store.listAdmins(db, { ...page, limit: page.limit + 1 }), page.limit);
}

async function get({ db }: AdminsDeps, id: string): Promise<Admin & { keys: AdminKey[] }> {
  const admin = await store.findAdmin(db, id);
  if (admin === undefined) throw new BrokerError('not-found');
  return { ...admin, keys: await keyStore.listKeys(db, id) };
}

async function update(
  { db, audit, clock }: AdminsDeps,
  act: Act<Person>,
  { id, change }: { id: string; change: store.AdminChange },
): Promise<Admin> {
  const normalised = change.email === undefined ? change : { ...change, email: normaliseEmail(change.email) };
  return withUniqueEmail(() =>
    withTransaction(db, async (tx) => {
      await store.lockAdminRole(tx);
      if ((await store.lockAdmin(tx, id)) === undefined) return refuse('not-found');
      const admin = await store.updateAdmin(tx, { id, change: normalised, at: clock.now() });
      await audit.append(tx, {
        ...byAct(act),
        type: 'admin.updated',
        objectId: id,
        details: describe(normalised),
      });
      await keepOneAdmin(tx, clock);
      return admin;
    }),
  );
}

/**
 * Returns the change for the audit log, without the e-mail address: the audit log is kept after a person's data is
 * erased.
 */
function describe({ email, ...rest }: store.AdminChange): Record<string, unknown> {
  return email === undefined ? rest : { ...rest, email: 'changed' };
}

async function remove({ db, audit, clock }: AdminsDeps, act: Act<Person>, id: string): Promise<void> {
  await withTransaction(db, async (tx) => {
    await store.lockAdminRole(tx);
    if ((await store.lockAdmin(tx, id)) === undefined) return refuse('not-found');
    if (await store.ownsAgents(tx, id)) return refuse('conflict', { detail: 'the person owns agents' });
    await store.deleteAdmin(tx, { id, at: clock.now() });
    await audit.append(tx, { ...byAct(act), type: 'admin.deleted', objectId: id });
    await keepOneAdmin(tx, clock);
    return undefined;
  });
}

interface KeyRequest {
  adminId: string;
  name: string;
  expiresAt?: Date | undefined;
}

async function issueKey(deps: AdminsDeps, act: Act<Person>, request: KeyRequest): Promise<IssuedKey> {
  const expiresAt = keyExpiry(deps.clock.now(), request.expiresAt);
  if (expiresAt === undefined) {
    throw new BrokerError('invalid-request', {
      detail: 'expires_at must be in the future and at most 366 days away',
    });
  }
  return withTransaction(deps.db, async (tx): Promise<IssuedKey | Refusal> => {
    if ((await store.lockAdmin(tx, request.adminId)) === undefined) return refuse('not-found');
    return makeKey(deps, tx, { ...request, expiresAt, ...byAct(act), issuedBy: act.caller.id });
  });
}

interface KeyToMake {
  adminId: string;
  name: string;
  expiresAt: Date;
  issuedBy: string | null;
  actor: Actor;
  origin?: Act['origin'] | undefined;
}

/** Generates a key, stores its digest and appends its audit event. */
export async function makeKey(deps: Omit<AdminsDeps, 'db'>, tx: Tx, request: KeyToMake): Promise<IssuedKey> {
  const key = generateSecret(deps.random, 'hpa');
  const id = await keepKey(deps, tx, { ...request, key });
  return { id, key, expiresAt: request.expiresAt };
}

/** Stores the digest of `key` and appends the audit event of its creation. Returns the id of the key. */
export async function keepKey(
  { audit, clock, ids }: Omit<AdminsDeps, 'db'>,
  tx: Tx,
  request: KeyToMake & { key: string },
): Promise<string> {
  const id = ids.next('adminKey');
  const { adminId, name, issuedBy, expiresAt, actor, origin } = request;
  const keyHash = hashSecret(request.key);
  await keyStore.insertKey(tx, { id, adminId, name, keyHash, issuedBy, createdAt: clock.now(), expiresAt });
  const details = { admin_id: adminId, expires_at: expiresAt };
  await audit.append(tx, { actor, origin, type: 'admin_key.created', objectId: id, details });
  return id;
}

async function revokeKey(
  { db, audit, clock }: AdminsDeps,
  act: Act<Person>,
  { adminId, keyId }: { adminId: string; keyId: string },
): Promise<void> {
  await withTransaction(db, async (tx) => {
    await store.lockAdminRole(tx);
    const outcome = await keyStore.revokeKey(tx, { id: keyId, adminId, at: clock.now() });
    if (outcome === 'unknown') return refuse('not-found');
    if (outcome === 'already') return undefined;
    const details = { admin_id: adminId };
    await audit.append(tx, { ...byAct(act), type: 'admin_key.revoked', objectId: keyId, details });
    await keepOneAdmin(tx, clock);
    return undefined;
  });
}

/** Throws `last-admin`, which rolls the change back, if no person has both the role `admin` and a valid key any more. */
async function keepOneAdmin(tx: Tx, clock: Clock): Promise<void> {
  if ((await store.countUsableAdmins(tx, clock.now())) === 0) throw new BrokerError('last-admin');
}

async function withUniqueEmail<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (violates(error, 'admins_email')) throw new BrokerError('email-taken');
    throw error;
  }
}

/** The actor of audit events without a caller: the creation of the bootstrap admin, and the recovery of an admin. */
export const startActor = systemActor('start');
