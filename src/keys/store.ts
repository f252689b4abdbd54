import { sql } from 'kysely';
import type { PublicJwk, SigningAlg } from '../crypto/algorithms.ts';
import type { Db, Tx } from '../db/database.ts';
import type { Json } from '../db/schema.gen.ts';
import { isPublished, type KeyState, keyStates, type SigningKey, statesBefore } from './signing-key.ts';

/** A key without its key material, as it is shown to admins and used for rotation plans. */
export interface KeyRecord extends SigningKey {
  retiredAt: Date | null;
  compromisedAt: Date | null;
}

/** A published key with its key material. */
export interface StoredKey {
  kid: string;
  alg: SigningAlg;
  state: KeyState;
  publicJwk: PublicJwk;
  privateSealed: Buffer;
}

const publishedStates = keyStates.filter((state) => isPublished({ state }));

/** Locks the keys until the transaction ends, so that rotations on all replicas run one after another. */
export async function lockKeys(tx: Tx): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('hallpass.keys'))`.execute(tx);
}

/** Returns all keys in any state, newest first. */
export async function listKeys(db: Db): Promise<KeyRecord[]> {
  const rows = await db
    .selectFrom('signing_keys')
    .select(['kid', 'alg', 'state', 'created_at', 'activated_at', 'retiring_at', 'retired_at'])
    .select('compromised_at')
    .orderBy('created_at', 'desc')
    .orderBy('kid', 'desc')
    .execute();
  return rows.map((row) => ({
    kid: row.kid,
    alg: row.alg as SigningAlg,
    state: row.state as KeyState,
    createdAt: row.created_at,
    activatedAt: row.activated_at,
    retiringAt: row.retiring_at,
    retiredAt: row.retired_at,
    compromisedAt: row.compromised_at,
  }));
}

/** Converts a row. The columns override the `kid` and `alg` in the JWK. */
function toPublicJwk(row: { kid: string; alg: string; public_jwk: Json }): PublicJwk {
  const members = row.public_jwk as unknown as PublicJwk;
  return { ...members, kid: row.kid, alg: row.alg as SigningAlg };
}

/** Returns the public keys of the published keys, newest first. */
export async function listPublicJwks(db: Db): Promise<PublicJwk[]> {
  const rows = await db
    .selectFrom('signing_keys')
    .select(['kid', 'alg', 'public_jwk'])
    .where('state', 'in', publishedStates)
    .orderBy('created_at', 'desc')
    .orderBy('kid', 'desc')
    .execute();
  return rows.map(toPublicJwk);
}

export async function listPublishedKeys(db: Db): Promise<StoredKey[]> {
  const rows = await db
    .selectFrom('signing_keys')
    .select(['kid', 'alg', 'state', 'public_jwk', 'private_sealed'])
    .where('state', 'in', publishedStates)
    .execute();
  return rows.map((row) => ({
    kid: row.kid,
    alg: row.alg as SigningAlg,
    state: row.state as KeyState,
    publicJwk: toPublicJwk(row),
    privateSealed: row.private_sealed,
  }));
}

/** Whether a key for `alg`, or any key if `alg` is undefined, is active. */
export async function hasActiveKey(db: Db, alg: SigningAlg | undefined): Promise<boolean> {
  let query = db.selectFrom('signing_keys').select('kid').where('state', '=', 'active').limit(1);
  if (alg !== undefined) query = query.where('alg', '=', alg);
  return (await query.executeTakeFirst()) !== undefined;
}

export async function insertKey(tx: Tx, key: StoredKey & { createdAt: Date }): Promise<void> {
  await tx
    .insertInto('signing_keys')
    .values({
      kid: key.kid,
      alg: key.alg,
      state: key.state,
      public_jwk: JSON.stringify(key.publicJwk),
      private_sealed: key.privateSealed,
      created_at: key.createdAt,
      activated_at: key.state === 'active' ? key.createdAt : null,
    })
    .execute();
}

/** The column with the time at which a key reached a state. */
const reachedAt = {
  active: (at: Date) => ({ activated_at: at }),
  retiring: (at: Date) => ({ retiring_at: at }),
  retired: (at: Date) => ({ retired_at: at }),
  compromised: (at: Date) => ({ compromised_at: at }),
} satisfies Partial<Record<KeyState, (at: Date) => object>>;

export type ReachableState = keyof typeof reachedAt;

/** Moves a key to a state if the transition is allowed from its current state. Returns whether it was. */
export async function moveKey(tx: Tx, move: { kid: string; to: ReachableState; at: Date }): Promise<boolean> {
  const result = await tx
    .updateTable('signing_keys')
    .set({ state: move.to, ...reachedAt[move.to](move.at) })
    .where('kid', '=', move.kid)
    .where('state', 'in', statesBefore(move.to))
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** Replaces `from` by `to`. Returns whether `from` was still stored. */
export async function replacePrivateSealed(
  tx: Tx,
  { kid, from, to }: { kid: string; from: Buffer; to: Buffer },
): Promise<boolean> {
  const result = await tx
    .updateTable('signing_keys')
    .set({ private_sealed: to })
    .where('kid', '=', kid)
    .where('private_sealed', '=', from)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

export async function readMasterKeyCheck(db: Db): Promise<Buffer | undefined> {
  const row = await db.selectFrom('master_key_check').select('sealed').executeTakeFirst();
  return row?.sealed;
}

/** Keeps the first value only, so that replicas that start together agree on the master key. */
export async function insertMasterKeyCheck(db: Db, sealed: Buffer): Promise<void> {
  await db
    .insertInto('master_key_check')
    .values({ sealed })
    .onConflict((conflict) => conflict.column('singleton').doNothing())
    .execute();
}

/** Replaces `from` by `to`, unless another replica has already replaced it. */
export async function replaceMasterKeyCheck(
  db: Db,
  { from, to }: { from: Buffer; to: Buffer },
): Promise<void> {
  await db.updateTable('master_key_check').set({ sealed: to }).where('sealed', '=', from).execute();
}
