import { type Envelope, EnvelopeError, type Place } from '../crypto/envelope.ts';
import type { Db } from '../db/database.ts';
import * as store from './store.ts';

const knownText = Buffer.from('hallpass master key check');
const place: Place = { table: 'master_key_check', column: 'sealed', row: 'singleton' };

/**
 * Checks that the master key is the one that the database was first started with. The first start encrypts a known
 * text, and every later start decrypts it. If only an old master key decrypts it, it is encrypted again under the
 * current one. Throws a one-line Error that names HALLPASS_MASTER_KEY if the check fails, before anything is
 * encrypted under a key that the other replicas do not have.
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
 * Encrypts the known text again under the current master key if an old one encrypted it, so that the old key can be
 * removed no matter which replica started last. Leaves a text that cannot be decrypted unchanged.
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
