import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader, type JWK } from 'jose';
import { sha256 } from '../../crypto/hash.ts';
import { type PublicKey, parseKeySet } from '../../outbound/key-set.ts';
import { type BoundedCache, createBoundedCache } from '../../platform/bounded-cache.ts';
import { isCleanText } from '../../platform/text.ts';
import {
  type Claims,
  clockSkewSeconds,
  isInstant,
  type SignatureFailure,
  verifySignedJwt,
} from '../signed-jwt.ts';

/** A verified DPoP proof: the sender holds the key with this thumbprint. It may be used once. */
export interface DpopProof {
  /** The SHA-256 JWK thumbprint of the key (RFC 7638, RFC 9449 section 6.1). */
  jkt: string;
  jti: string;
  /** When it expires, in seconds since the epoch. */
  endsAt: number;
}

export type DpopFailure =
  | SignatureFailure
  /** The key is private, symmetric, weak, or missing. */
  | 'wrong-key'
  | 'wrong-claims'
  /** The proof is for another method or URL. */
  | 'wrong-target'
  | 'wrong-time'
  /** The proof is for another access token, or for a request without an access token. */
  | 'wrong-token'
  /** The nonce is required and missing, or was not made by this server. */
  | 'wrong-nonce';

export type DpopVerification = { ok: true; proof: DpopProof } | { ok: false; reason: DpopFailure };

export interface DpopOptions {
  method: string;
  /** The URL of the request without query, from the configured issuer, never from the request's host. */
  url: string;
  /** The access token in the request, if there is one. */
  accessToken?: string | undefined;
  isGoodNonce: (nonce: unknown) => boolean;
  now: Date;
}

const types = ['dpop+jwt'];
const longestBytes = 8_192;
const longestJti = 256;
/** The longest header that is cached. Headers with common keys are shorter. */
const longestKept = 2_048;
/** The longest age of a proof, without clock skew. */
const longestSeconds = 60;

interface HolderKey {
  key: PublicKey;
  jkt: string;
}

/** Caches keys by the proof header: clients send the same one each time, and reading the key costs the most. */
export type HolderKeys = BoundedCache<HolderKey>;

/** Verifies a DPoP proof (RFC 9449 section 4.3), but not that it is used once. */
export async function verifyDpopProof(
  text: string,
  options: DpopOptions,
  known: HolderKeys = createBoundedCache<HolderKey>({ maxEntries: 1 }),
): Promise<DpopVerification> {
  // Claims are checked first, so that most refusals, and every request for a nonce, cost no signature verification.
  const unverified = readClaims(text);
  if (unverified === undefined) return { ok: false, reason: 'malformed' };
  const reason = claimsFailure(unverified, options);
  if (reason !== undefined) return { ok: false, reason };
  const header = text.slice(0, text.indexOf('.'));
  const held = known.get(header) ?? (await readKey(text));
  if (held === undefined) return { ok: false, reason: 'wrong-key' };
  const verified = await verifySignedJwt(text, { keys: [held.key], types });
  if (!verified.ok) return verified;
  if (header.length <= longestKept) known.set(header, held);
  const { jti, iat } = verified.claims as { jti: string; iat: number };
  // Computed from `iat` alone, so that a proof has the same end at every verification.
  const endsAt = Math.floor(iat) + longestSeconds + clockSkewSeconds;
  return { ok: true, proof: { jkt: held.jkt, jti, endsAt } };
}

function readClaims(text: string): Claims | undefined {
  try {
    return text.length > longestBytes ? undefined : decodeJwt(text);
  } catch {
    return undefined;
  }
}

/** Reads the public key in a proof's header. The thumbprint is computed from the parsed key, not from its text. */
async function readKey(text: string): Promise<HolderKey | undefined> {
  try {
    const { jwk, kid } = decodeProtectedHeader(text);
    const [found] = jwk === undefined ? [] : parseKeySet({ keys: [jwk] });
    if (found === undefined) return undefined;
    const jkt = await calculateJwkThumbprint(found.key.export({ format: 'jwk' }) as JWK);
    return { key: { ...found, kid }, jkt };
  } catch {
    return undefined;
  }
}

function claimsFailure(claims: Claims, options: DpopOptions): DpopFailure | undefined {
  const { jti, htm, htu, iat, ath, nonce } = claims;
  const isNamed = typeof jti === 'string' && jti !== '' && jti.length <= longestJti && isCleanText(jti);
  if (!isNamed || !isInstant(iat) || typeof htm !== 'string' || typeof htu !== 'string')
    return 'wrong-claims';
  if (htm !== options.method || withoutQuery(htu) !== options.url) return 'wrong-target';
  const ageSeconds = options.now.getTime() / 1000 - iat;
  if (ageSeconds < -clockSkewSeconds || ageSeconds >= longestSeconds + clockSkewSeconds) return 'wrong-time';
  const { accessToken } = options;
  if (accessToken !== undefined && ath !== sha256(accessToken).toString('base64url')) return 'wrong-token';
  return options.isGoodNonce(nonce) ? undefined : 'wrong-nonce';
}

const urlText = /^https?:\/\/[\x21-\x3f\x41-\x5b\x5d-\x7e]+$/i;

/** Normalises a URL and drops query and fragment (RFC 9449 section 4.3, RFC 3986 section 6.2); undefined if it is not a URL. */
function withoutQuery(text: string): string | undefined {
  if (!urlText.test(text) || !URL.canParse(text)) return undefined;
  const { origin, pathname } = new URL(text);
  return `${origin}${pathname}`;
}
