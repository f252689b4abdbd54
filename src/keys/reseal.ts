import { systemActor } from '../audit/audit-event.ts';
import type { Audit } from '../audit/store.ts';
import { type Envelope, EnvelopeError } from '../crypto/envelope.ts';
import type { Tx } from '../db/database.ts';
import { resealPrivateKey } from './key-material.ts';
import { resealMasterKeyCheck } from './master-key-check.ts';
import * as store from './store.ts';

export interface ResealDeps {
  audit: Audit;
  envelope: Envelope;
}

/**
 * Seals the private halves of the published keys, and the text that a start checks its master key with, anew where
 * another master key than the current one sealed them; answers how many keys. Call it under the lock on the keys.
 * There are a few published keys only, so one call does all, and then nothing that is ever opened needs the old master
 * key. Retired and compromised keys stay as they are: none of them is ever opened again. A key that does not open is
 * left too; the ring reports it.
 */
export async function resealKeys({ audit, envelope }: ResealDeps, tx: Tx): Promise<number> {
  const resealed: string[] = [];
  await resealMasterKeyCheck({ db: tx, envelope });
  for (const key of await store.listPublishedKeys(tx)) {
    const { kid, alg, privateSealed } = key;
    if (envelope.isCurrent(privateSealed)) continue;
    const to = opened(() => resealPrivateKey(envelope, key));
    if (to === undefined || !(await store.replacePrivateSealed(tx, { kid, from: privateSealed, to })))
      continue;
    await audit.append(tx, {
      type: 'key.resealed',
      actor: systemActor('rotate-keys'),
      objectId: kid,
      details: { alg },
    });
    resealed.push(kid);
  }
  return resealed.length;
}

function opened(reseal: () => Buffer): Buffer | undefined {
  try {
    return reseal();
  } catch (error) {
    if (error instanceof EnvelopeError) return undefined;
    throw error;
  }
}
