import type { KeyObject } from 'node:crypto';
import { compactVerify, decodeJwt, decodeProtectedHeader } from 'jose';
import type { PublicKey } from '../outbound/key-set.ts';
import { isCleanText } from '../platform/text.ts';

/** The unverified parts of a JWT that determine whose keys must have signed it. */
export interface UnverifiedJwt {
  /** Undefined if the JWT has no `iss`, which a JWT-SVID need not have (SPIFFE JWT-SVID section 3). */
  issuer: string | undefined;
  subject: string;
  alg: string;
  kid: string | undefined;
  /** All claims, `iss` and `sub` too. */
  claims: Claims;
}

export type SignatureFailure =
  /** Over 8 kB, not a JWS, or without required members. */
  | 'malformed'
  /** An algorithm or `typ` that is not accepted, or a critical extension. */
  | 'wrong-header'
  /** No key matches, or several match and the JWT has no `kid`. */
  | 'unknown-key'
  | 'wrong-signature';

export type Claims = Record<string, unknown>;
export type Verified =
  | {
      ok: true;
      claims: Claims;
      /** The key that verified the signature. */
      key: PublicKey;
    }
  | { ok: false; reason: SignatureFailure };

const longestBytes = 8_192;
/** The accepted difference between the clocks of other parties and this server. */
export const clockSkewSeconds = 60;

type KeyDetails = Pick<KeyObject, 'asymmetricKeyType' | 'asymmetricKeyDetails'>;
const isRsa = ({ asymmetricKeyType }: KeyDetails): boolean => asymmetricKeyType === 'rsa';
const isEd25519 = ({ asymmetricKeyType }: KeyDetails): boolean => asymmetricKeyType === 'ed25519';
const isOn =
  (curve: string) =>
  ({ asymmetricKeyDetails }: KeyDetails): boolean =>
    asymmetricKeyDetails?.namedCurve === curve;

/** The accepted algorithms, each with the keys that it may be used with (RFC 7518 section 3, RFC 8037, RFC 9864). */
const algorithms: Record<string, (key: KeyDetails) => boolean> = {
  ES256: isOn('prime256v1'),
  ES384: isOn('secp384r1'),
  ES512: isOn('secp521r1'),
  RS256: isRsa,
  RS384: isRsa,
  RS512: isRsa,
  PS256: isRsa,
  PS384: isRsa,
  PS512: isRsa,
  EdDSA: isEd25519,
  Ed25519: isEd25519,
};

/** The names of the accepted algorithms, for the metadata (RFC 8414 section 2). */
export const signingAlgs: readonly string[] = Object.keys(algorithms);

/** The header members by which a JWT names its key. */
interface KeyName {
  alg: string;
  kid: string | undefined;
}

function readKeyName(text: string): KeyName | undefined {
  if (text.length > longestBytes) return undefined;
  try {
    const { alg, kid } = decodeProtectedHeader(text);
    if (typeof alg !== 'string' || (kid !== undefined && typeof kid !== 'string')) return undefined;
    return { alg, kid };
  } catch {
    return undefined;
  }
}

/** Whether an unverified name is clean text, which the database accepts. */
const isNameText = (value: unknown): value is string => typeof value === 'string' && isCleanText(value);

/** Parses a JWT without verifying it: nothing in the result may be trusted. Undefined if the text is not a signed JWT. */
export function parseSignedJwt(text: string): UnverifiedJwt | undefined {
  const name = readKeyName(text);
  if (name === undefined) return undefined;
  try {
    const claims: Claims = decodeJwt(text);
    const { iss: issuer, sub: subject } = claims;
    if (!isNameText(subject) || (issuer !== undefined && !isNameText(issuer))) return undefined;
    return { issuer, subject, ...name, claims };
  } catch {
    return undefined;
  }
}

/** Verifies the signature of a JWT whose `typ` is one of `types` (without `application/`, in lower case; 'jwt' if absent). */
export async function verifySignedJwt(
  text: string,
  { keys, types }: { keys: readonly PublicKey[]; types: readonly string[] },
): Promise<Verified> {
  const name = readKeyName(text);
  if (name === undefined) return { ok: false, reason: 'malformed' };
  if (!isGoodHeader(text, types)) return { ok: false, reason: 'wrong-header' };
  const key = chooseKey(keys, name);
  if (key === undefined) return { ok: false, reason: 'unknown-key' };
  const claims = await verifySignature(text, { key: key.key, alg: name.alg });
  return claims === undefined ? { ok: false, reason: 'wrong-signature' } : { ok: true, claims, key };
}

function isGoodHeader(text: string, types: readonly string[]): boolean {
  const { alg = '', typ = 'jwt', crit } = decodeProtectedHeader(text);
  if (!Object.hasOwn(algorithms, alg) || crit !== undefined || typeof typ !== 'string') return false;
  return types.includes(typ.toLowerCase().replace(/^application\//, ''));
}

/** Finds the one key that matches. Keys in the header (`jwk`, `jku`, `x5u`) are ignored: any sender can set them. */
function chooseKey(keys: readonly PublicKey[], { alg, kid }: KeyName): PublicKey | undefined {
  const family = (name: string): string => (name === 'EdDSA' ? 'Ed25519' : name);
  const fitting = keys.filter(
    (key) =>
      (kid === undefined || key.kid === kid) &&
      (key.alg === undefined || family(key.alg) === family(alg)) &&
      algorithms[alg]?.(key.key) === true,
  );
  return fitting.length === 1 ? fitting[0] : undefined;
}

async function verifySignature(
  text: string,
  { key, alg }: { key: KeyObject; alg: string },
): Promise<Claims | undefined> {
  try {
    const { payload } = await compactVerify(text, key, { algorithms: [alg] });
    const claims: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
    const isObject = typeof claims === 'object' && claims !== null && !Array.isArray(claims);
    return isObject ? (claims as Claims) : undefined;
  } catch {
    return undefined;
  }
}

export const isInstant = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value > 0;
const isAbsentOr = (value: unknown, check: (value: number) => boolean): boolean =>
  value === undefined || (isInstant(value) && check(value));

export type TimeFailure = 'wrong-claims' | 'expired';

/**
 * Checks `exp`, which is required and at most `longestSeconds` ahead, `nbf` and `iat` (RFC 7519
 * section 4.1), each with a tolerance of `clockSkewSeconds`. Returns undefined if they are valid.
 */
export function timeFailure(
  { exp, iat, nbf }: Claims,
  { now, longestSeconds }: { now: Date; longestSeconds: number },
): TimeFailure | undefined {
  const nowSeconds = now.getTime() / 1000;
  const latest = nowSeconds + clockSkewSeconds;
  const begun = (instant: number): boolean => instant <= latest;
  if (!isInstant(exp) || exp > latest + longestSeconds) return 'wrong-claims';
  if (!isAbsentOr(iat, begun) || !isAbsentOr(nbf, begun)) return 'wrong-claims';
  return exp <= nowSeconds - clockSkewSeconds ? 'expired' : undefined;
}
