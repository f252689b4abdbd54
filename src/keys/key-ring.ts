import { importPublicJwk, type SigningAlg } from '../crypto/algorithms.ts';
import type { Envelope } from '../crypto/envelope.ts';
import { createSigner, type VerificationKey } from '../crypto/jwt.ts';
import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import { keepAnswer } from '../platform/keep-answer.ts';
import { shareRuns } from '../platform/share-runs.ts';
import { openPrivateKey } from './key-material.ts';
import * as store from './store.ts';

/** The `typ` of access tokens (RFC 9068 section 2.1). */
const accessTokenType = 'at+jwt';
/** The shortest time between two reads of the keys that are caused by an unknown `kid` in a token. */
const unknownIntervalMs = 1_000;

export interface Signer {
  kid: string;
  /** Returns the compact JWS of `claims`, synchronously. */
  sign(claims: object): string;
}

/**
 * A published key that this replica cannot use: its private key cannot be decrypted or imported, or its public key is
 * invalid.
 */
export interface BrokenKey {
  kid: string;
  /** The message names the key and the problem. */
  error: Error;
}

/** The signing keys in memory, as of the last `refresh`. The database decides whether a key may still sign. */
export interface KeyRing {
  /**
   * Reads the keys again; concurrent callers share one read. A key that cannot be used does not affect other keys: it
   * is reported to `onBroken`, once until it is fixed, and if it is the active key, its algorithm has no signer.
   */
  refresh(): Promise<void>;
  /**
   * Reads the keys again because a token has an unknown `kid`. Clients can cause this at will, so there is at most
   * one read per second, whose result or failure all callers in that second share. No valid token is refused: a key
   * is published for 360 s before it signs, so any read within the last second found every key that signs now. The
   * exception is a key that replaced a compromised one early: it may be found a second late.
   */
  refreshForUnknown(): Promise<void>;
  /** Returns the signer with the active key of `alg`; undefined if there is no usable one. */
  signer(alg: SigningAlg): Signer | undefined;
  /** Whether there is a signer for at least one algorithm. */
  canSign(): boolean;
  /** Returns the published key with this `kid`. */
  verificationKey(kid: string): VerificationKey | undefined;
  /** Returns the published keys that cannot be used. */
  broken(): BrokenKey[];
}

interface Ring {
  /** The active keys whose private key was decrypted. */
  signers: ReadonlyMap<SigningAlg, Signer>;
  /** The published keys by `kid`. */
  verificationKeys: ReadonlyMap<string, VerificationKey>;
  /** The published keys that cannot be used, by `kid`. */
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

/**
 * Builds the ring. Keys in `before` are reused, so each public key is imported once and each private key decrypted
 * once.
 */
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
