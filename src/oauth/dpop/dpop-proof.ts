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
} from '../clients/signed-jwt.ts';

/** What a proof shows: that who sent the request holds the key of this thumbprint, now. It may be used once. */
export interface DpopProof {
  /** The SHA-256 JWK thumbprint of the key (RFC 7638, RFC 9449 section 6.1). */
  jkt: string;
  jti: string;
  /** From when on nobody takes it, in seconds since the epoch. */
  endsAt: number;
}

export type DpopFailure =
  | SignatureFailure
  /** The key is private, symmetric, weak, or missing. */
  | 'wrong-key'
  | 'wrong-claims'
  /** It is for another method or URL. */
  | 'wrong-target'
  | 'wrong-time'
  /** It is for another access token, or for none. */
  | 'wrong-token'
  /** The nonce is missing or is none of ours, and a good one is required. */
  | 'wrong-nonce';

export type DpopVerification = { ok: true; proof: DpopProof } | { ok: false; reason: DpopFailure };

export interface DpopOptions {
  method: string;
  /** As clients reach it, without query: from configuration, never from what the request says of its host. */
  url: string;
  /** The access token that is sent along, if one is. */
  accessToken?: string | undefined;
  isGoodNonce: (nonce: unknown) => boolean;
  now: Date;
}

const types = ['dpop+jwt'];
const longestBytes = 8_192;
const longestJti = 256;
/** No header of a key that anybody uses is longer; what is, is read anew each time. */
const longestKept = 2_048;
/** How old a proof may be, beside the difference of clocks. */
const longestSeconds = 60;

interface HolderKey {
  key: PublicKey;
  jkt: string;
}

/** Keys by the header that brings them along: a holder sends the same one with each proof, and to read a key costs most. */
export type HolderKeys = BoundedCache<HolderKey>;

/** Verifies a DPoP proof (RFC 9449 section 4.3), but not that it is used once. */
export async function verifyDpopProof(
  text: string,
  options: DpopOptions,
  known: HolderKeys = createBoundedCache<HolderKey>({ maxEntries: 1 }),
): Promise<DpopVerification> {
  // What it says is looked at first: most of what is refused, and every request for a nonce, costs no signature.
  const said = readClaims(text);
  if (said === undefined) return { ok: false, reason: 'malformed' };
  const reason = claimsFailure(said, options);
  if (reason !== undefined) return { ok: false, reason };
  const header = text.slice(0, text.indexOf('.'));
  const held = known.get(header) ?? (await readKey(text));
  if (held === undefined) return { ok: false, reason: 'wrong-key' };
  const verified = await verifySignedJwt(text, { keys: [held.key], types });
  if (!verified.ok) return verified;
  if (header.length <= longestKept) known.set(header, held);
  const { jti, iat } = verified.claims as { jti: string; iat: number };
  // Of `iat` alone: the same proof has the same end, whenever it comes.
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

/** The key that a proof brings along, if it is a public one of use; its thumbprint is of the key, however it is spelt. */
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

/** A URL in its normal form, without query and fragment (RFC 9449 section 4.3, RFC 3986 section 6.2); undefined if it is none. */
function withoutQuery(text: string): string | undefined {
  if (!urlText.test(text) || !URL.canParse(text)) return undefined;
  const { origin, pathname } = new URL(text);
  return `${origin}${pathname}`;
}
