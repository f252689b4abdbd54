import { equalDigests, sha256 } from '../crypto/hash.ts';
import type { Db, Tx } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import { canonicalJson } from '../platform/canonical-json.ts';
import * as store from './store.ts';

export type { IdempotentCall } from './store.ts';

/** Describes a call with an `Idempotency-Key`. `body` is what must be equal when the call is repeated. */
export function describeCall(
  { caller, route, key }: { caller: string; route: string; key: string },
  body: unknown,
): store.IdempotentCall {
  return { caller, route, key, bodyHash: sha256(canonicalJson(body)) };
}

/**
 * Returns the id of the object that the same call made within 24 hours; undefined if this is the first call. Throws
 * `idempotency-key-reused` if the key was used with another body.
 */
export async function findEarlier(
  db: Db,
  call: store.IdempotentCall,
  now: Date,
): Promise<string | undefined> {
  const earlier = await store.findCall(db, call, now);
  if (earlier === undefined) return undefined;
  if (!equalDigests(earlier.bodyHash, call.bodyHash)) throw new BrokerError('idempotency-key-reused');
  return earlier.objectId;
}

/** Claims the key for the object that this transaction makes. Returns false if another call has claimed it. */
export function claimCall(tx: Tx, call: store.IdempotentCall, made: store.Claimed): Promise<boolean> {
  return store.claimCall(tx, call, made);
}
