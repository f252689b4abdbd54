import type { PublicKey } from '../../outbound/key-set.ts';
import { type Conditions, meetsConditions } from '../../trusted-issuers/conditions.ts';
import {
  type Claims,
  isInstant,
  readSignedJwt,
  type SignatureFailure,
  type TimeFailure,
  timeFailure,
  type UnverifiedJwt,
  verifySignedJwt,
} from './signed-jwt.ts';

export type WorkloadTokenFailure =
  | SignatureFailure
  | TimeFailure
  | 'wrong-issuer'
  | 'wrong-audience'
  /** A claim is not what the issuer or the agent is registered with. */
  | 'wrong-conditions';

export interface WorkloadTokenOptions {
  /** Those of the issuer. */
  keys: readonly PublicKey[];
  issuer: string;
  /** Undefined: whoever it is of. */
  subject: string | undefined;
  /** The only audience: one that is also for another could be used here by that one. */
  audience: string;
  /** All of them are to be met. */
  conditions: readonly Conditions[];
  now: Date;
  /** Whether an access token that is for us is good, too: it shows for whom, and not who brings it. */
  accessTokens?: boolean;
}

export type WorkloadTokenVerification =
  | { ok: true; claims: Claims & { sub: string; exp: number } }
  | { ok: false; reason: WorkloadTokenFailure };

/** Tokens of platforms live for up to a day (Kubernetes' projected tokens, by default an hour). */
const longestSeconds = 86_400;
/** What platforms write: none, or one of these. An access token (`at+jwt`) is for a resource and proves nobody. */
const types = ['jwt', 'jose'];

/**
 * The issuer that a token says it is of: its `iss`, or, where it has none, the trust domain of its SPIFFE ID (SPIFFE-ID
 * section 2.1). Undefined: neither.
 */
export function issuerOf({ issuer, subject }: Pick<UnverifiedJwt, 'issuer' | 'subject'>): string | undefined {
  return issuer ?? /^(spiffe:\/\/[a-z0-9._-]+)\/./.exec(subject)?.[1];
}

/**
 * Verifies the token that a trusted issuer gave somebody: a platform a workload, or an identity provider a person (OIDC Core
 * section 2, SPIFFE JWT-SVID section 4). It is not used up: they hand the same one out again.
 */
export async function verifyWorkloadToken(
  text: string,
  options: WorkloadTokenOptions,
): Promise<WorkloadTokenVerification> {
  if (readSignedJwt(text) === undefined) return { ok: false, reason: 'malformed' };
  const { keys, accessTokens = false } = options;
  const verified = await verifySignedJwt(text, {
    keys,
    types: accessTokens ? [...types, 'at+jwt'] : types,
  });
  if (!verified.ok) return verified;
  const reason = claimsFailure(verified.claims, options);
  return reason === undefined
    ? { ok: true, claims: verified.claims as Claims & { sub: string; exp: number } }
    : { ok: false, reason };
}

function claimsFailure(
  claims: Claims,
  { issuer, subject, audience, conditions, now }: WorkloadTokenOptions,
): WorkloadTokenFailure | undefined {
  const { iss, sub, aud } = claims;
  if ((iss !== undefined && typeof iss !== 'string') || typeof sub !== 'string') return 'wrong-claims';
  const isOther = subject !== undefined && sub !== subject;
  if (isOther || issuerOf({ issuer: iss, subject: sub }) !== issuer) return 'wrong-issuer';
  const [only] = Array.isArray(aud) && aud.length === 1 ? aud : [aud];
  if (only !== audience) return 'wrong-audience';
  const { iat, exp } = claims;
  // One that was made to last is not good for its last day.
  if (!isInstant(iat) || Number(exp) - iat > longestSeconds) return 'wrong-claims';
  const failure = timeFailure(claims, { now, longestSeconds });
  if (failure !== undefined) return failure;
  return conditions.every((one) => meetsConditions(claims, one)) ? undefined : 'wrong-conditions';
}
