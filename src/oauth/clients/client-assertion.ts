import type { PublicKey } from '../../outbound/key-set.ts';
import { addSeconds } from '../../platform/clock.ts';
import { isCleanText } from '../../platform/text.ts';
import {
  type Claims,
  readSignedJwt,
  type SignatureFailure,
  type TimeFailure,
  timeFailure,
  verifySignedJwt,
} from './signed-jwt.ts';

/** A client that has proved itself once: the assertion may not be used again until it ends. */
export interface ClientAssertion {
  clientId: string;
  jti: string;
  /** The signed `exp`, in whole seconds. */
  expiresAt: Date;
}

/** `wrong-claims`: one is missing, of the wrong type or out of range. */
export type AssertionFailure = SignatureFailure | TimeFailure | 'wrong-audience';

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

const longestJti = 256;
/** Nobody may hold an assertion for longer: what was used is remembered until it ends. */
const longestSeconds = 3_600;
/** RFC 7523 names none; the first is what clients write, the last what draft-ietf-oauth-rfc7523bis asks for. */
const types = ['jwt', 'client-authentication+jwt'];

/** Verifies an assertion by which a client authenticates (RFC 7523 section 3), but not that it is used once. */
export async function verifyAssertion(
  text: string,
  options: AssertionOptions,
): Promise<AssertionVerification> {
  if (readSignedJwt(text) === undefined) return { ok: false, reason: 'malformed' };
  const verified = await verifySignedJwt(text, { keys: options.keys, types });
  return verified.ok ? checkClaims(verified.claims, options) : verified;
}

function checkClaims(claims: Claims, options: AssertionOptions): AssertionVerification {
  const { iss, sub, jti, exp, aud } = claims;
  const isNamed = typeof jti === 'string' && jti !== '' && jti.length <= longestJti && isCleanText(jti);
  if (typeof iss !== 'string' || iss !== sub || !isNamed) return { ok: false, reason: 'wrong-claims' };
  const failure = timeFailure(claims, { now: options.now, longestSeconds });
  if (failure === 'wrong-claims') return { ok: false, reason: failure };
  if (!isAudience(aud, options)) return { ok: false, reason: 'wrong-audience' };
  if (failure !== undefined) return { ok: false, reason: failure };
  const expiresAt = addSeconds(new Date(0), Math.floor(exp as number));
  return { ok: true, assertion: { clientId: iss, jti, expiresAt } };
}

function isAudience(aud: unknown, { issuer, legacyAudiences }: AssertionOptions): boolean {
  if (aud === issuer) return true;
  if (legacyAudiences === undefined) return false;
  const good = [issuer, ...legacyAudiences];
  return Array.isArray(aud) ? aud.some((one) => good.includes(one)) : good.includes(aud as string);
}
