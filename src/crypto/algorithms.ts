import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type JsonWebKey,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { promisify } from 'node:util';

export interface KeyPair {
  publicKey: KeyObject;
  privateKey: KeyObject;
}

interface Algorithm {
  generate(): Promise<KeyPair>;
  /** Whether a key has this algorithm's type, curve and size. */
  accepts(key: KeyObject): boolean;
  /** The public members of the JWK (RFC 7518 section 6, RFC 8037 section 2). No other members are ever exported. */
  publicMembers: readonly string[];
  /** The digest for node:crypto; null for EdDSA, which includes its own. */
  digest: 'sha256' | null;
}

/** Fixed-width r || s instead of DER for ECDSA (RFC 7518 section 3.4). Has no effect on other algorithms. */
const dsaEncoding = 'ieee-p1363' as const;

const makePair = promisify(generateKeyPair);

/** Every algorithm that the broker signs with. Invariant: nothing else in the code base enumerates them. */
const table = {
  /** ECDSA on P-256 with SHA-256 (RFC 7518 section 3.4). The default. */
  ES256: {
    generate: () => makePair('ec', { namedCurve: 'P-256' }),
    accepts: (key) => key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1',
    publicMembers: ['kty', 'crv', 'x', 'y'],
    digest: 'sha256',
  },
  /** RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits (RFC 7518 section 3.3). */
  RS256: {
    generate: () => makePair('rsa', { modulusLength: 2048, publicExponent: 0x10001 }),
    accepts: (key) => key.asymmetricKeyType === 'rsa' && key.asymmetricKeyDetails?.modulusLength === 2048,
    publicMembers: ['kty', 'n', 'e'],
    digest: 'sha256',
  },
  /** Ed25519 (RFC 8037 section 3.1). */
  EdDSA: {
    generate: () => makePair('ed25519'),
    accepts: (key) => key.asymmetricKeyType === 'ed25519',
    publicMembers: ['kty', 'crv', 'x'],
    digest: null,
  },
} satisfies Record<string, Algorithm>;

export type SigningAlg = keyof typeof table;

const algorithms: Record<SigningAlg, Algorithm> = table;

/** The `alg` values of a JOSE header, with the default first. */
export const signingAlgs = Object.keys(table) as [SigningAlg, ...SigningAlg[]];

export const defaultSigningAlg: SigningAlg = 'ES256';

export function isSigningAlg(text: string): text is SigningAlg {
  return Object.hasOwn(table, text);
}

/** A public key in the JWKS (RFC 7517 section 4). */
export interface PublicJwk {
  kty: string;
  kid: string;
  alg: SigningAlg;
  use: 'sig';
  crv?: string;
  x?: string;
  y?: string;
  n?: string;
  e?: string;
}

function assertFits(alg: SigningAlg, key: KeyObject): KeyObject {
  if (!algorithms[alg].accepts(key)) throw new Error(`not a key for ${alg}`);
  return key;
}

/** Generates a key pair. RSA takes up to a second, off the event loop. */
export function generateSigningKeyPair(alg: SigningAlg): Promise<KeyPair> {
  return algorithms[alg].generate();
}

/**
 * Exports the public JWK of a key from an allow-list of members, so that even a private key is exported without
 * private members. Throws if the key is not for `alg`.
 */
export function exportPublicJwk(options: { alg: SigningAlg; kid: string; key: KeyObject }): PublicJwk {
  const { alg, kid, key } = options;
  const members: JsonWebKey = assertFits(alg, key).export({ format: 'jwk' });
  const kept = algorithms[alg].publicMembers.map((name) => [name, members[name]]);
  return { kty: String(members.kty), ...Object.fromEntries(kept), kid, alg, use: 'sig' };
}

/** Imports the public key of a JWK that `exportPublicJwk` made. Throws if it is not for `jwk.alg`. */
export function importPublicJwk(jwk: PublicJwk): KeyObject {
  const members: JsonWebKey = {};
  for (const name of algorithms[jwk.alg].publicMembers)
    Object.assign(members, { [name]: Reflect.get(jwk, name) });
  return assertFits(jwk.alg, createPublicKey({ key: members, format: 'jwk' }));
}

/** Exports a private key as PKCS #8 DER (RFC 5208). The caller encrypts it, and wipes it after use. */
export function exportPrivateKey(key: KeyObject): Buffer {
  return key.export({ type: 'pkcs8', format: 'der' });
}

/** Imports a private key from PKCS #8 DER. Throws if it is not for `alg`. */
export function importPrivateKey(alg: SigningAlg, der: Buffer): KeyObject {
  return assertFits(alg, createPrivateKey({ key: der, type: 'pkcs8', format: 'der' }));
}

/** Creates a function that signs synchronously: a round trip to the thread pool costs more than the signature. */
export function createSign(alg: SigningAlg, privateKey: KeyObject): (input: Buffer) => Buffer {
  const { digest } = algorithms[alg];
  const key = { key: assertFits(alg, privateKey), dsaEncoding };
  return (input) => sign(digest, input, key);
}

/** Whether `signature` is a valid signature of `input`, checked synchronously. False if the key is not for `alg`. */
export function verifySignature(options: {
  alg: SigningAlg;
  publicKey: KeyObject;
  input: Buffer;
  signature: Buffer;
}): boolean {
  const { digest, accepts } = algorithms[options.alg];
  if (!accepts(options.publicKey)) return false;
  return verify(digest, options.input, { key: options.publicKey, dsaEncoding }, options.signature);
}
