import type { Audit } from '../audit/audit.ts';
import { systemActor } from '../audit/audit-event.ts';
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
 * Encrypts again, under the current master key, the private keys of the published keys and the text that checks the
 * master key at each start, where an old master key encrypted them. Returns the number of signing keys. The caller
 * holds the lock on the keys. After this one call, nothing that is still decrypted needs an old master key: retired
 * and compromised keys are left, because they are never decrypted. A key that cannot be decrypted is also left; the
 * key ring reports it.
 */
export async function resealKeys({ audit, envelope }: ResealDeps, tx: Tx): Promise<number> {
  const resealed: string[] = [];
  await resealMasterKeyCheck({ db: tx, envelope });
  for (const key of await store.listPublishedKeys(tx)) {
    const { kid, alg, privateSealed } = key;
    if (envelope.isCurrent(privateSealed)) continue;
    const to = tryReseal(() => resealPrivateKey(envelope, key));
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

function tryReseal(reseal: () => Buffer): Buffer | undefined {
  try {
    return reseal();
  } catch (error) {
    if (error instanceof EnvelopeError) return undefined;
    throw error;
  }
}
