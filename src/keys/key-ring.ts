import { importPublicJwk, type SigningAlg } from '../crypto/algorithms.ts';
import type { Envelope } from '../crypto/envelope.ts';
import { createSigner, type VerificationKey } from '../crypto/jwt.ts';
import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import { keepAnswer } from '../platform/keep-answer.ts';
import { shareRuns } from '../platform/share-runs.ts';
import { openPrivateKey } from './key-material.ts';
import * as store from './store.ts';

/** RFC 9068 section 2.1. */
const accessTokenType = 'at+jwt';
/** How often, at most, strangers' unknown keys make a replica read its own again. */
const unknownIntervalMs = 1_000;

export interface Signer {
  kid: string;
  /** The compact JWS of `claims`; synchronous. */
  sign(claims: object): string;
}

/** A published key that is not usable here: a private half that does not open or fit, or a public one that is none. */
export interface BrokenKey {
  kid: string;
  /** Names the key and what is wrong with it. */
  error: Error;
}

/** The keys in memory, as of the last `refresh`: the database has the last word on whether one may still sign. */
export interface KeyRing {
  /**
   * Reads the keys again; callers at the same time share one read. A key that is not usable harms no other: it is told
   * to `onBroken`, once until it is mended, and its algorithm has no signer if it is the active one.
   */
  refresh(): Promise<void>;
  /**
   * The same because of a key name in a token of anybody: one read a second at most, which everyone in that second
   * shares, as they share its failure. No good token is missed: a key is published for 360 s before it signs, so a
   * read of the last second found every key that signs by now. Only one that had to sign at once, because it replaced
   * a compromised key before it was published for so long, may be found a second late.
   */
  refreshForUnknown(): Promise<void>;
  /** Signs with the active key of `alg`; undefined if there is none, or none that is usable. */
  signer(alg: SigningAlg): Signer | undefined;
  /** Whether there is a signer for any algorithm. */
  canSign(): boolean;
  /** The published key of this name. */
  verificationKey(kid: string): VerificationKey | undefined;
  /** The published keys that are not usable. */
  broken(): BrokenKey[];
}

interface Ring {
  /** Of the active keys whose private half opened. */
  signers: ReadonlyMap<SigningAlg, Signer>;
  /** By `kid`. */
  verificationKeys: ReadonlyMap<string, VerificationKey>;
  /** By `kid`. */
  broken: ReadonlyMap<string, Error>;
}

export interface KeyRingDeps {
  db: Db;
  clock: Clock;
  envelope: Envelope;
  onBroken: (kid: string, error: Error) => void;
}

export function createKeyRing({ db, clock, envelope, onBroken }: KeyRingDeps): KeyRing {
  let ring: Ring = { signers: new Map(), verificationKeys: new Map(), broken: new Map() };
  const refresh = shareRuns(async () => {
    const before = ring;
    ring = buildRing(await store.listPublishedKeys(db), { envelope, before });
    for (const [kid, error] of ring.broken) {
      if (!before.broken.has(kid)) onBroken(kid, error);
    }
  });
  return {
    refresh,
    refreshForUnknown: keepAnswer({ clock, keepMs: unknownIntervalMs, work: refresh }).read,
    signer: (alg) => ring.signers.get(alg),
    canSign: () => ring.signers.size > 0,
    verificationKey: (kid) => ring.verificationKeys.get(kid),
    broken: () => [...ring.broken].map(([kid, error]) => ({ kid, error })),
  };
}

/** What is in `before` is kept: each key is imported, and each sealed half opened, once. */
function buildRing(
  keys: store.StoredKey[],
  { envelope, before }: { envelope: Envelope; before: Ring },
): Ring {
  const signers = new Map<SigningAlg, Signer>();
  const verificationKeys = new Map<string, VerificationKey>();
  const broken = new Map<string, Error>();
  for (const key of keys) {
    const { kid, alg, publicJwk } = key;
    try {
      const publicKey = before.verificationKeys.get(kid)?.publicKey ?? importPublicJwk(publicJwk);
      verificationKeys.set(kid, { alg, publicKey });
      if (key.state === 'active') signers.set(alg, keptSigner(before, key) ?? openSigner(envelope, key));
    } catch (cause) {
      broken.set(kid, new Error(`signing key ${kid} is not usable: ${String(cause)}`, { cause }));
    }
  }
  return { signers, verificationKeys, broken };
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
