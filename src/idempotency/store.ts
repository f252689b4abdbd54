import type { Db, Tx } from '../db/database.ts';
import { addSeconds } from '../platform/clock.ts';

/** How long an idempotency key is kept. */
const keepSeconds = 24 * 60 * 60;

/** One use of an `Idempotency-Key`: its caller, its route and its body. */
export interface IdempotentCall {
  caller: string;
  route: string;
  key: string;
  /** SHA-256 of the body; the body itself is never kept. */
  bodyHash: Buffer;
}

export interface EarlierCall {
  bodyHash: Buffer;
  objectId: string;
}

/** Finds the call that used the key in the last 24 hours. */
export async function findCall(db: Db, call: IdempotentCall, now: Date): Promise<EarlierCall | undefined> {
  const row = await db
    .selectFrom('idempotency_keys')
    .select(['body_hash', 'object_id'])
    .where('caller', '=', call.caller)
    .where('route', '=', call.route)
    .where('key', '=', call.key)
    .where('created_at', '>', addSeconds(now, -keepSeconds))
    .executeTakeFirst();
  return row === undefined ? undefined : { bodyHash: row.body_hash, objectId: row.object_id };
}

/** The object for which a call claims a key. */
export interface Claimed {
  objectId: string;
  now: Date;
  /** The object of an earlier call that came to nothing, whose claim ends. */
  replaces?: string | undefined;
}

/**
 * Claims the key for the object that this transaction makes. Returns false if another call has claimed
 * it. Of concurrent calls one claims the key; the others wait here until its transaction ends.
 */
export async function claimCall(tx: Tx, call: IdempotentCall, made: Claimed): Promise<boolean> {
  await tx
    .deleteFrom('idempotency_keys')
    .where('caller', '=', call.caller)
    .where('route', '=', call.route)
    .where('key', '=', call.key)
    .where((eb) =>
      eb.or([
        eb('created_at', '<=', addSeconds(made.now, -keepSeconds)),
        ...(made.replaces === undefined ? [] : [eb('object_id', '=', made.replaces)]),
      ]),
    )
    .execute();
  const inserted = await tx
    .insertInto('idempotency_keys')
    .values({
      caller: call.caller,
      route: call.route,
      key: call.key,
      body_hash: call.bodyHash,
      object_id: made.objectId,
      created_at: made.now,
    })
    .onConflict((conflict) => conflict.columns(['caller', 'route', 'key']).doNothing())
    .executeTakeFirst();
  return inserted.numInsertedOrUpdatedRows === 1n;
}
