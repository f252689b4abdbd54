import type { PublicKey } from '../outbound/key-set.ts';
import { type Conditions, type Difference, findDifferences } from '../trusted-issuers/conditions.ts';
import {
  type Claims,
  isInstant,
  parseSignedJwt,
  type SignatureFailure,
  type TimeFailure,
  timeFailure,
  type UnverifiedJwt,
  type Verified,
  verifySignedJwt,
} from './signed-jwt.ts';

export type WorkloadTokenFailure =
  | SignatureFailure
  | TimeFailure
  | 'wrong-issuer'
  | 'wrong-audience'
  /** A claim does not meet the conditions that are registered for the issuer. */
  | 'wrong-conditions';

export interface WorkloadTokenOptions {
  /** The issuer's keys. */
  keys: readonly PublicKey[];
  issuer: string;
  /** The sole audience: a recipient with another audience could otherwise use the same token here. */
  audience: string;
  /** Conditions that the claims of every token of the issuer must meet. */
  conditions: Conditions;
  now: Date;
  /** Whether access tokens (`at+jwt`) are accepted: they identify a subject, but do not authenticate the sender. */
  accessTokens?: boolean;
}

export type WorkloadClaims = Claims & { sub: string; exp: number };
export type WorkloadTokenVerification =
  | { ok: true; claims: WorkloadClaims }
  | { ok: false; reason: WorkloadTokenFailure; detail?: string };

/**
 * The longest lifetime of a platform's token: a day (the maximum of Kubernetes' projected tokens and of Entra's managed
 * identities), and five minutes, because some platforms set `iat` five minutes back against clock skew.
 */
const longestSeconds = 86_400 + 300;
/** The `typ` values that platforms write. An access token (`at+jwt`) does not authenticate a client. */
const types = ['jwt', 'jose'];

/**
 * Finds the issuer of a token: its `iss`, or, without `iss`, the trust domain of its SPIFFE ID (SPIFFE-ID section 2.1).
 * Returns undefined if the token has neither.
 */
export function issuerOf({ issuer, subject }: Pick<UnverifiedJwt, 'issuer' | 'subject'>): string | undefined {
  return issuer ?? /^(spiffe:\/\/[a-z0-9._-]+)\/./.exec(subject)?.[1];
}

/**
 * Verifies a token of a trusted issuer: the token of a platform about a workload, or of an identity provider about a person
 * (OIDC Core section 2, SPIFFE JWT-SVID section 4). It may be used repeatedly, because issuers cache tokens and return the
 * same one again.
 */
export async function verifyWorkloadToken(
  text: string,
  options: WorkloadTokenOptions,
): Promise<WorkloadTokenVerification> {
  const verified = await verifyWorkloadSignature(text, options);
  if (!verified.ok) return verified;
  for (const { findProblem } of claimChecks) {
    const problem = findProblem(verified.claims, options);
    if (problem !== undefined) return { ok: false, ...problem };
  }
  return { ok: true, claims: verified.claims as WorkloadClaims };
}

/** Verifies the signature and the header of a token of a trusted issuer. */
export async function verifyWorkloadSignature(
  text: string,
  { keys, accessTokens = false }: Pick<WorkloadTokenOptions, 'keys' | 'accessTokens'>,
): Promise<Verified> {
  if (parseSignedJwt(text) === undefined) return { ok: false, reason: 'malformed' };
  return verifySignedJwt(text, { keys, types: accessTokens ? [...types, 'at+jwt'] : types });
}

export type Expected = Pick<WorkloadTokenOptions, 'issuer' | 'audience' | 'conditions' | 'now'>;

interface ClaimProblem {
  reason: WorkloadTokenFailure;
  /** What differs from what is registered, for the log. */
  detail: string;
}

export interface ClaimCheck {
  name: 'issuer' | 'audience' | 'lifetime' | 'claims';
  findProblem(claims: Claims, expected: Expected): ClaimProblem | undefined;
}

/** The checks of the claims of a token, in the order in which they are made. */
export const claimChecks: readonly ClaimCheck[] = [
  { name: 'issuer', findProblem: findIssuerProblem },
  { name: 'audience', findProblem: findAudienceProblem },
  { name: 'lifetime', findProblem: findLifetimeProblem },
  { name: 'claims', findProblem: findConditionsProblem },
];

function findIssuerProblem({ iss, sub }: Claims, { issuer }: Expected): ClaimProblem | undefined {
  if ((iss !== undefined && typeof iss !== 'string') || typeof sub !== 'string')
    return { reason: 'wrong-claims', detail: 'iss or sub is not a string' };
  const actual = issuerOf({ issuer: iss, subject: sub });
  return actual === issuer
    ? undefined
    : { reason: 'wrong-issuer', detail: `iss is ${show(actual)}, expected ${show(issuer)}` };
}

function findAudienceProblem({ aud }: Claims, { audience }: Expected): ClaimProblem | undefined {
  const [only] = Array.isArray(aud) && aud.length === 1 ? aud : [aud];
  return only === audience
    ? undefined
    : { reason: 'wrong-audience', detail: `aud is ${show(aud)}, expected ${show(audience)} alone` };
}

function findLifetimeProblem(claims: Claims, { now }: Expected): ClaimProblem | undefined {
  const { iat, exp } = claims;
  // A token with a longer lifetime is refused even during its last day.
  if (!isInstant(iat)) return { reason: 'wrong-claims', detail: `iat is ${show(iat)}, expected a time` };
  if (Number(exp) - iat > longestSeconds)
    return { reason: 'wrong-claims', detail: `exp is more than ${longestSeconds} s after iat` };
  const reason = timeFailure(claims, { now, longestSeconds });
  const at = Math.floor(now.getTime() / 1000);
  const times = `iat ${show(iat)}, nbf ${show(claims.nbf)}, exp ${show(exp)}, the time is ${at}`;
  return reason === undefined ? undefined : { reason, detail: times };
}

function findConditionsProblem(claims: Claims, { conditions }: Expected): ClaimProblem | undefined {
  const differences = findDifferences(claims, conditions);
  return differences.length === 0
    ? undefined
    : { reason: 'wrong-conditions', detail: describeDifferences(differences) };
}

const maxDescribed = 5;
const longestShown = 120;

/** Cuts a text from a token, which anyone may have written. Never splits a character. */
export function cutText(text: string): string {
  const cut = text.length > longestShown ? `${text.slice(0, longestShown)}...` : text;
  return cut.toWellFormed();
}

/** Describes claims that differ, for the log: the first five, long values cut. */
export function describeDifferences(differences: readonly Difference[]): string {
  return differences
    .slice(0, maxDescribed)
    .map(({ claim, expected, actual }) => `${claim} is ${show(actual)}, expected ${show(expected)}`)
    .join('; ');
}

/** Formats a value from a token, which anyone may have written, for the log. */
export function show(value: unknown): string {
  const text = value === undefined || value === null ? 'absent' : JSON.stringify(value);
  return cutText(text);
}
