import { importPublicJwk, type SigningAlg } from '../crypto/algorithms.ts';
import type { Envelope } from '../crypto/envelope.ts';
import { createSigner, type VerificationKey } from '../crypto/jwt.ts';
import type { Db } from '../db/database.ts';
import { shareRuns } from '../platform/share-runs.ts';
import { openPrivateKey } from './key-material.ts';
import * as store from './store.ts';

/** RFC 9068 section 2.1. */
const accessTokenType = 'at+jwt';

export interface Signer {
  kid: string;
  /** The compact JWS of `claims`; synchronous. */
  sign(claims: object): string;
}

/** The keys in memory, as of the last `refresh`: the database has the last word on whether one may still sign. */
export interface KeyRing {
  /**
   * Reads the keys again; callers at the same time share one read. A private half that does not open, or does not
   * fit its algorithm, throws what is wrong with which row, after everything else is in place; it never signs.
   */
  refresh(): Promise<void>;
  /** Signs with the active key of `alg`; undefined if there is none. */
  signer(alg: SigningAlg): Signer | undefined;
  /** The published key of this name. */
  verificationKey(kid: string): VerificationKey | undefined;
}

interface Ring {
  /** Of the active keys whose private half opened. */
  signers: ReadonlyMap<SigningAlg, Signer>;
  /** By `kid`. */
  verificationKeys: ReadonlyMap<string, VerificationKey>;
}

export function createKeyRing({ db, envelope }: { db: Db; envelope: Envelope }): KeyRing {
  let ring: Ring = { signers: new Map(), verificationKeys: new Map() };
  return {
    refresh: shareRuns(async () => {
      const { failure, ...read } = buildRing(await store.listPublishedKeys(db), { envelope, before: ring });
      ring = read;
      if (failure !== undefined) throw failure;
    }),
    signer: (alg) => ring.signers.get(alg),
    verificationKey: (kid) => ring.verificationKeys.get(kid),
  };
}

/** What is in `before` is kept: each key is imported, and each sealed half opened, once. */
function buildRing(
  keys: store.StoredKey[],
  { envelope, before }: { envelope: Envelope; before: Ring },
): Ring & { failure: Error | undefined } {
  const signers = new Map<SigningAlg, Signer>();
  const verificationKeys = new Map<string, VerificationKey>();
  let failure: Error | undefined;
  for (const key of keys) {
    const { kid, alg, publicJwk } = key;
    try {
      const publicKey = before.verificationKeys.get(kid)?.publicKey ?? importPublicJwk(publicJwk);
      verificationKeys.set(kid, { alg, publicKey });
      if (key.state === 'active') signers.set(alg, keptSigner(before, key) ?? openSigner(envelope, key));
    } catch (cause) {
      failure = new Error(`signing key ${kid} is not usable: ${String(cause)}`, { cause });
    }
  }
  return { signers, verificationKeys, failure };
}

function keptSigner(before: Ring, { kid, alg }: store.StoredKey): Signer | undefined {
  const signer = before.signers.get(alg);
  return signer?.kid === kid ? signer : undefined;
}

function openSigner(envelope: Envelope, key: store.StoredKey): Signer {
  const { kid, alg } = key;
  const privateKey = openPrivateKey(envelope, key);
  return { kid, sign: createSigner({ typ: accessTokenType, alg, kid, privateKey }) };
}
