import type { KeyObject } from 'node:crypto';
import { compactVerify, decodeJwt, decodeProtectedHeader } from 'jose';
import type { PublicKey } from '../outbound/key-set.ts';
import { addSeconds } from '../platform/clock.ts';
import { isCleanText } from '../platform/text.ts';

/** What an assertion says before anybody has vouched for it: enough to find out who should have signed it. */
export interface UnverifiedAssertion {
  /** Its `iss` and `sub`, which are alike. */
  clientId: string;
  alg: string;
  kid: string | undefined;
}

/** A client that has proved itself once: the assertion may not be used again until it ends. */
export interface ClientAssertion {
  clientId: string;
  jti: string;
  /** The signed `exp`, in whole seconds. */
  expiresAt: Date;
}

export type AssertionFailure =
  /** Over 8 kB, no JWS, or without the members that it must have. */
  | 'malformed'
  /** An algorithm or type that is not for this, or a critical extension. */
  | 'wrong-header'
  /** No key fits, or more than one where it names none. */
  | 'unknown-key'
  | 'wrong-signature'
  /** A claim is missing, of the wrong type or out of range. */
  | 'wrong-claims'
  | 'wrong-audience'
  | 'expired';

export type AssertionVerification =
  | { ok: true; assertion: ClientAssertion }
  | { ok: false; reason: AssertionFailure };

export interface AssertionOptions {
  /** Those that may have signed it. */
  keys: readonly PublicKey[];
  /** The only audience, as a text by itself (draft-ietf-oauth-rfc7523bis section 4). */
  issuer: string;
  /** Of a client that cannot do that: an `aud` that has one of these, alone or among others, is good, too. */
  legacyAudiences?: readonly string[];
  now: Date;
}

const longestBytes = 8_192;
const longestJti = 256;
/** How far the clocks of others may differ from ours. */
export const assertionSkewSeconds = 60;
/** Nobody may hold an assertion for longer: what was used is remembered until it ends. */
const longestSeconds = 3_600;
/** RFC 7523 names none; the first is what clients write, the last what draft-ietf-oauth-rfc7523bis asks for. */
const types = ['jwt', 'client-authentication+jwt'];

type KeyDetails = Pick<KeyObject, 'asymmetricKeyType' | 'asymmetricKeyDetails'>;
const isRsa = ({ asymmetricKeyType }: KeyDetails): boolean => asymmetricKeyType === 'rsa';
const isEd25519 = ({ asymmetricKeyType }: KeyDetails): boolean => asymmetricKeyType === 'ed25519';
const isOn =
  (curve: string) =>
  ({ asymmetricKeyDetails }: KeyDetails): boolean =>
    asymmetricKeyDetails?.namedCurve === curve;

/** Every algorithm that a client may sign with, and the keys that are for it (RFC 7518 section 3, RFC 8037, RFC 9864). */
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

/** The names, for the metadata (RFC 8414 section 2). */
export const assertionAlgs: readonly string[] = Object.keys(algorithms);

/** Reads who an assertion says it is of; undefined if it is none. Nothing that it says may be believed yet. */
export function readAssertion(text: string): UnverifiedAssertion | undefined {
  if (text.length > longestBytes) return undefined;
  try {
    const { alg, kid } = decodeProtectedHeader(text);
    const { iss, sub } = decodeJwt(text);
    if (typeof alg !== 'string' || (kid !== undefined && typeof kid !== 'string')) return undefined;
    return typeof iss === 'string' && iss === sub ? { clientId: iss, alg, kid } : undefined;
  } catch {
    return undefined;
  }
}

/** Verifies an assertion by which a client authenticates (RFC 7523 section 3), but not that it is used once. */
export async function verifyAssertion(
  text: string,
  options: AssertionOptions,
): Promise<AssertionVerification> {
  const read = readAssertion(text);
  if (read === undefined) return { ok: false, reason: 'malformed' };
  if (!isGoodHeader(text)) return { ok: false, reason: 'wrong-header' };
  const key = chooseKey(options.keys, read);
  if (key === undefined) return { ok: false, reason: 'unknown-key' };
  const claims = await verifySignature(text, { key, alg: read.alg });
  if (claims === undefined) return { ok: false, reason: 'wrong-signature' };
  return checkClaims(claims, options);
}

function isGoodHeader(text: string): boolean {
  const { alg = '', typ = 'jwt', crit } = decodeProtectedHeader(text);
  if (!Object.hasOwn(algorithms, alg) || crit !== undefined || typeof typ !== 'string') return false;
  return types.includes(typ.toLowerCase().replace(/^application\//, ''));
}

/** The one key that fits. Keys that the assertion brings along (`jwk`, `jku`, `x5u`) are nobody's. */
function chooseKey(keys: readonly PublicKey[], { alg, kid }: UnverifiedAssertion): KeyObject | undefined {
  const family = (name: string): string => (name === 'EdDSA' ? 'Ed25519' : name);
  const fitting = keys.filter(
    (key) =>
      (kid === undefined || key.kid === kid) &&
      (key.alg === undefined || family(key.alg) === family(alg)) &&
      algorithms[alg]?.(key.key) === true,
  );
  return fitting.length === 1 ? fitting[0]?.key : undefined;
}

async function verifySignature(
  text: string,
  { key, alg }: { key: KeyObject; alg: string },
): Promise<Record<string, unknown> | undefined> {
  try {
    const { payload } = await compactVerify(text, key, { algorithms: [alg] });
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload)) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

const isInstant = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value > 0;
const isAbsentOr = (value: unknown, check: (value: number) => boolean): boolean =>
  value === undefined || (isInstant(value) && check(value));

function checkClaims(claims: Record<string, unknown>, options: AssertionOptions): AssertionVerification {
  const { iss, jti, exp, iat, nbf, aud } = claims;
  const now = options.now.getTime() / 1000;
  const latest = now + assertionSkewSeconds;
  const begun = (instant: number): boolean => instant <= latest;
  const isNamed = typeof jti === 'string' && jti !== '' && jti.length <= longestJti && isCleanText(jti);
  if (typeof iss !== 'string' || !isNamed || !isInstant(exp) || exp > latest + longestSeconds) {
    return { ok: false, reason: 'wrong-claims' };
  }
  if (!isAbsentOr(iat, begun) || !isAbsentOr(nbf, begun)) return { ok: false, reason: 'wrong-claims' };
  if (!isAudience(aud, options)) return { ok: false, reason: 'wrong-audience' };
  if (exp <= now - assertionSkewSeconds) return { ok: false, reason: 'expired' };
  const expiresAt = addSeconds(new Date(0), Math.floor(exp));
  return { ok: true, assertion: { clientId: iss, jti, expiresAt } };
}

function isAudience(aud: unknown, { issuer, legacyAudiences }: AssertionOptions): boolean {
  if (aud === issuer) return true;
  if (legacyAudiences === undefined) return false;
  const good = [issuer, ...legacyAudiences];
  return Array.isArray(aud) ? aud.some((one) => good.includes(one)) : good.includes(aud as string);
}
