import type { KeyObject } from 'node:crypto';
import { toEpochSeconds } from '../platform/clock.ts';
import { createSign, type SigningAlg, verifySignature } from './algorithms.ts';

const longestTokenBytes = 8192;
/** 9999-12-31T23:59:59Z, the last second that RFC 3339 can represent. */
const latestEpochSeconds = 253_402_300_799;
const headerMembers = ['alg', 'kid', 'typ'];

export interface VerificationKey {
  alg: SigningAlg;
  publicKey: KeyObject;
}

/** The claims that each of our tokens has. The caller checks all others. */
export interface VerifiedClaims {
  iss: string;
  jti: string;
  /** Seconds since the epoch, `exp` > `iat`. */
  iat: number;
  exp: number;
  [name: string]: unknown;
}

export type JwtFailure =
  /** Longer than 8 kB, not three parts, or a part that is not encoded exactly as `createSigner` encodes it. */
  | 'malformed'
  /** Another `typ`, or a header member that `createSigner` never writes (`crit`, `jwk`, `jku`, `x5u`, `b64`, ...). */
  | 'wrong-header'
  | 'unknown-key'
  /** `alg` is not the algorithm of the key. */
  | 'wrong-alg'
  | 'wrong-signature'
  /** A claim is missing, of the wrong type or out of range. */
  | 'wrong-claims'
  | 'wrong-issuer'
  | 'expired';

export type JwtVerification =
  | { ok: true; claims: VerifiedClaims; kid: string }
  | { ok: false; reason: JwtFailure };

export interface VerifyOptions {
  /** Returns the verification key of a `kid`, which is untrusted text. */
  keys: (kid: string) => VerificationKey | undefined;
  typ: string;
  issuer: string;
  /** If given, `exp` must be later. Omitted by a caller that must distinguish an expired token from an invalid one. */
  now?: Date;
}

type JsonObject = Record<string, unknown>;

function encodeJson(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/**
 * Creates a function that signs claims as a compact JWS (RFC 7515 section 7.1). On the hot path, so the header is
 * encoded and the key prepared only once. A claim that is `undefined` is left out.
 */
export function createSigner(options: {
  typ: string;
  alg: SigningAlg;
  kid: string;
  privateKey: KeyObject;
}): (claims: object) => string {
  const { typ, alg, kid, privateKey } = options;
  const prefix = `${encodeJson({ typ, alg, kid })}.`;
  const sign = createSign(alg, privateKey);
  return (claims) => {
    const input = prefix + encodeJson(claims);
    return `${input}.${sign(Buffer.from(input, 'latin1')).toString('base64url')}`;
  };
}

/**
 * Decodes the JSON object of one part; undefined if it is not valid. The part must equal our own encoding of its
 * content. This refuses padding, other encodings of the last character, line breaks, invalid UTF-8, white space,
 * repeated members and numbers that a double cannot represent, so that no two parsers can disagree.
 */
function decodeJson(part: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    return encodeJson(value) === part ? (value as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}

function isEpochSeconds(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) > 0 && Number(value) <= latestEpochSeconds;
}

function isOurClaims(claims: JsonObject): claims is VerifiedClaims {
  const { iss, jti, iat, exp } = claims;
  const named = typeof iss === 'string' && typeof jti === 'string' && jti !== '';
  return named && isEpochSeconds(iat) && isEpochSeconds(exp) && exp > iat;
}

function checkHeader(header: JsonObject, options: VerifyOptions): JwtFailure | VerificationKey {
  const { typ, alg, kid } = header;
  const members = Object.keys(header).sort();
  if (typ !== options.typ || typeof kid !== 'string' || members.join() !== headerMembers.join()) {
    return 'wrong-header';
  }
  const key = options.keys(kid);
  if (key === undefined) return 'unknown-key';
  return alg === key.alg ? key : 'wrong-alg';
}

function checkClaims(claims: JsonObject | undefined, options: VerifyOptions): JwtFailure | VerifiedClaims {
  if (claims === undefined) return 'malformed';
  if (!isOurClaims(claims)) return 'wrong-claims';
  if (claims.iss !== options.issuer) return 'wrong-issuer';
  // RFC 7519 section 4.1.4: refused at or after its expiry.
  if (options.now !== undefined && toEpochSeconds(options.now) >= claims.exp) return 'expired';
  return claims;
}

/**
 * Verifies a token that this broker issued (RFC 7515 section 5.2, RFC 9068 section 4), synchronously. Stricter than a
 * verifier of other issuers' tokens can be: header and claims must be exactly the bytes that `createSigner` writes.
 * The algorithm is that of the key; the header cannot choose it. Claims are read only after the signature was
 * verified. Returns a failure and never throws for any text. The caller checks the audience, and that the
 * token has a row. It must identify the token by `jti` only, because a JWS can have several encodings and signatures.
 */
export function verifyJwt(token: string, options: VerifyOptions): JwtVerification {
  const fail = (reason: JwtFailure): JwtVerification => ({ ok: false, reason });
  if (token.length > longestTokenBytes) return fail('malformed');
  const [headerPart, claimsPart, signaturePart, ...more] = token.split('.');
  if (
    headerPart === undefined ||
    claimsPart === undefined ||
    signaturePart === undefined ||
    more.length > 0
  ) {
    return fail('malformed');
  }
  const header = decodeJson(headerPart);
  const signature = Buffer.from(signaturePart, 'base64url');
  if (header === undefined || signature.toString('base64url') !== signaturePart) return fail('malformed');

  const key = checkHeader(header, options);
  if (typeof key === 'string') return fail(key);
  const input = Buffer.from(`${headerPart}.${claimsPart}`, 'utf8');
  if (!verifySignature({ ...key, input, signature })) return fail('wrong-signature');

  const claims = checkClaims(decodeJson(claimsPart), options);
  return typeof claims === 'string' ? fail(claims) : { ok: true, claims, kid: String(header.kid) };
}
