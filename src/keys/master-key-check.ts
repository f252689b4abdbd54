import { type Envelope, EnvelopeError, type Place } from '../crypto/envelope.ts';
import type { Db } from '../db/database.ts';
import * as store from './store.ts';

const knownText = Buffer.from('hallpass master key check');
const place: Place = { table: 'master_key_check', column: 'sealed', row: 'singleton' };

/**
 * Whether this is the master key that the database was first started with: seals a known text then, and opens it at
 * every later start. What opens under an old master key only is sealed anew under the current one. Throws an Error of
 * one line that names HALLPASS_MASTER_KEY if it does not open, before anything is sealed under a key that the other
 * replicas do not have.
 */
export async function checkMasterKey({ db, envelope }: { db: Db; envelope: Envelope }): Promise<void> {
  let sealed = await store.readMasterKeyCheck(db);
  if (sealed === undefined) {
    await store.insertMasterKeyCheck(db, envelope.seal(knownText, place));
    sealed = await store.readMasterKeyCheck(db);
  }
  if (sealed === undefined || !opens(envelope, sealed)) {
    throw new Error('HALLPASS_MASTER_KEY is not the key that the secrets in this database were sealed with');
  }
  await resealMasterKeyCheck({ db, envelope });
}

/**
 * Seals the known text anew under the current master key where an old one sealed it: so that the old one can go, whichever
 * replica started last. Leaves what does not open as it is.
 */
export async function resealMasterKeyCheck({ db, envelope }: { db: Db; envelope: Envelope }): Promise<void> {
  const sealed = await store.readMasterKeyCheck(db);
  if (sealed === undefined || envelope.isCurrent(sealed) || !opens(envelope, sealed)) return;
  await store.replaceMasterKeyCheck(db, { from: sealed, to: envelope.seal(knownText, place) });
}

function opens(envelope: Envelope, sealed: Buffer): boolean {
  try {
    return envelope.open(sealed, place).equals(knownText);
  } catch (error) {
    if (error instanceof EnvelopeError) return false;
    throw error;
  }
}
