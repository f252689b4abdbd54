import type { PublicKey } from '../outbound/key-set.ts';
import { addSeconds } from '../platform/clock.ts';
import { isCleanText } from '../platform/text.ts';
import {
  type Claims,
  parseSignedJwt,
  type SignatureFailure,
  type TimeFailure,
  timeFailure,
  verifySignedJwt,
} from './signed-jwt.ts';

/** A verified assertion of a client. It may be used once: its `jti` is remembered until it expires. */
export interface ClientAssertion {
  clientId: string;
  jti: string;
  /** The `exp` claim, in whole seconds. */
  expiresAt: Date;
  /** All claims, which may include some that restrict its use (`cnf`, `may_act`). */
  claims: Claims;
  /** The key that verified it. */
  key: PublicKey;
}

/** `wrong-claims`: a claim is missing, of the wrong type or out of range. */
export type AssertionFailure = SignatureFailure | TimeFailure | 'wrong-audience';

export type AssertionVerification =
  | { ok: true; assertion: ClientAssertion }
  | { ok: false; reason: AssertionFailure };

export interface AssertionOptions {
  /** The client's keys. */
  keys: readonly PublicKey[];
  /** The issuer of this server: the sole audience, as a string (draft-ietf-oauth-rfc7523bis section 4). */
  issuer: string;
  /** Audiences also accepted, alone or among others, from a client that cannot name the issuer as its sole audience. */
  legacyAudiences?: readonly string[];
  now: Date;
}

const longestJti = 256;
/** The longest lifetime of an assertion, because a used one is remembered until it expires. */
const longestSeconds = 3_600;
/**
 * The accepted `typ` values. RFC 7523 requires none; clients write `JWT`; draft-ietf-oauth-rfc7523bis defines the
 * second.
 */
const types = ['jwt', 'client-authentication+jwt'];

/** Verifies an assertion that a client signed to authenticate itself (RFC 7523 section 3), but not that it is used once. */
export async function verifyAssertion(
  text: string,
  options: AssertionOptions,
): Promise<AssertionVerification> {
  if (parseSignedJwt(text) === undefined) return { ok: false, reason: 'malformed' };
  const verified = await verifySignedJwt(text, { keys: options.keys, types });
  return verified.ok ? checkClaims(verified, options) : verified;
}

function checkClaims(
  { claims, key }: { claims: Claims; key: PublicKey },
  options: AssertionOptions,
): AssertionVerification {
  const { iss, sub, jti, exp, aud } = claims;
  const isNamed = typeof jti === 'string' && jti !== '' && jti.length <= longestJti && isCleanText(jti);
  if (typeof iss !== 'string' || iss !== sub || !isNamed) return { ok: false, reason: 'wrong-claims' };
  const failure = timeFailure(claims, { now: options.now, longestSeconds });
  if (failure === 'wrong-claims') return { ok: false, reason: failure };
  if (!isAudience(aud, options)) return { ok: false, reason: 'wrong-audience' };
  if (failure !== undefined) return { ok: false, reason: failure };
  const expiresAt = addSeconds(new Date(0), Math.floor(exp as number));
  return { ok: true, assertion: { clientId: iss, jti, expiresAt, claims, key } };
}

function isAudience(aud: unknown, { issuer, legacyAudiences }: AssertionOptions): boolean {
  if (aud === issuer) return true;
  if (legacyAudiences === undefined) return false;
  const accepted = [issuer, ...legacyAudiences];
  return Array.isArray(aud) ? aud.some((name) => accepted.includes(name)) : accepted.includes(aud as string);
}
