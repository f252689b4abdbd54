import type { KeySets } from '../outbound/key-sets.ts';
import { OutboundFailure } from '../outbound/outbound-failure.ts';
import type { Clock } from '../platform/clock.ts';
import type { Difference } from '../trusted-issuers/conditions.ts';
import type { AssertionVerifier, WorkloadTokenResult } from './assertions.ts';
import type { ClientFinders } from './client-records.ts';
import { type RestrictionFailure, restrictionFailure } from './restrictions.ts';
import { type Claims, parseSignedJwt, type UnverifiedJwt } from './signed-jwt.ts';
import { type KnownIssuer, readKeys } from './trusted-token.ts';
import { nearestIdentities } from './workload-identity.ts';
import {
  type ClaimCheck,
  claimChecks,
  issuerOf,
  verifyWorkloadSignature,
  type WorkloadClaims,
} from './workload-token.ts';

export interface TokenCheckResult {
  name: 'signature' | ClaimCheck['name'] | 'identity' | 'agent' | 'restrictions';
  passed: boolean;
  /** What differs from what is registered, if the check failed. */
  detail: string | null;
}

export interface TokenCheck {
  /** Whether the token would authenticate an agent that is enabled. */
  accepted: boolean;
  agentId: string | null;
  checks: TokenCheckResult[];
  /** The identities of the issuer that differ least, if none matches. */
  nearest: { agentId: string; differences: Difference[] }[];
}

export interface TokenCheckDeps {
  clock: Clock;
  /** The issuer of this server. */
  issuer: string;
  keySets: KeySets;
  assertions: AssertionVerifier;
  find: Pick<ClientFinders, 'agent' | 'issuersNamed' | 'identities'>;
  /** Finds a trusted issuer by its id. Throws `not-found`. */
  readIssuer: (id: string) => Promise<KnownIssuer>;
}

export type CheckToken = (request: { issuerId: string; token: string }) => Promise<TokenCheck>;

const maxNearest = 5;

/** Creates the check that explains to an admin how the token endpoint treats a trusted issuer's token. */
export function createTokenCheck(deps: TokenCheckDeps): CheckToken {
  return async ({ issuerId, token }) => {
    const issuer = await deps.readIssuer(issuerId);
    const unverified = parseSignedJwt(token);
    if (unverified === undefined) {
      const detail = 'it is not a signed JWT of at most 8 kB with a sub without control characters';
      return { accepted: false, agentId: null, checks: [failed('signature', detail)], nearest: [] };
    }
    const { claims } = unverified;
    const issuers = (await deps.find.issuersNamed(issuerOf(unverified) ?? ''))?.issuers ?? [];
    const known = { issuers, find: deps.find.identities };
    const result = await deps.assertions.verifyWorkload(token, unverified, known);
    const checks = [
      await checkSignature(deps, { issuer, token, unverified }),
      ...checkClaims(claims, issuer, deps.clock.now()),
      checkIdentity(result, issuer),
      ...(result.ok ? await checkAgent(deps, result.identity.agentId, claims) : []),
    ];
    return {
      accepted: checks.every((check) => check.passed),
      agentId: result.ok ? result.identity.agentId : null,
      checks,
      nearest: result.ok ? [] : await findNearest(deps, issuer, claims),
    };
  };
}

const passed = (name: TokenCheckResult['name']): TokenCheckResult => ({ name, passed: true, detail: null });
const failed = (name: TokenCheckResult['name'], detail: string): TokenCheckResult => ({
  name,
  passed: false,
  detail,
});

async function checkSignature(
  { keySets }: TokenCheckDeps,
  { issuer, token, unverified }: { issuer: KnownIssuer; token: string; unverified: UnverifiedJwt },
): Promise<TokenCheckResult> {
  try {
    const keys = await readKeys(keySets, issuer.keys, unverified);
    const verified = await verifyWorkloadSignature(token, { keys });
    if (verified.ok) return passed('signature');
    const { alg, kid = 'none' } = unverified;
    const known = keys.map((key) => key.kid ?? 'none').join(', ');
    return failed('signature', `${verified.reason}: alg ${alg}, kid ${kid}; the issuer's keys: ${known}`);
  } catch (error) {
    if (!(error instanceof OutboundFailure)) throw error;
    return failed('signature', `the issuer's keys cannot be read: ${error.problem}`);
  }
}

function checkClaims(claims: Claims, issuer: KnownIssuer, now: Date): TokenCheckResult[] {
  return claimChecks.map(({ name, findProblem }) => {
    const problem = findProblem(claims, { ...issuer, now });
    if (problem !== undefined) return failed(name, problem.detail);
    // The clocks may differ, but no token is issued that would expire later than this one.
    const isPast = name === 'lifetime' && Number(claims.exp) * 1000 <= now.getTime();
    return isPast ? failed(name, 'exp is past') : passed(name);
  });
}

function checkIdentity(result: WorkloadTokenResult, issuer: KnownIssuer): TokenCheckResult {
  if (!result.ok) return failed('identity', result.detail ?? result.reason);
  return result.issuerId === issuer.id
    ? passed('identity')
    : failed('identity', `the trusted issuer ${result.issuerId}, which has the same iss, accepts it`);
}

async function checkAgent(
  { find, issuer }: TokenCheckDeps,
  agentId: string,
  claims: Claims,
): Promise<TokenCheckResult[]> {
  const agent = await find.agent(agentId);
  const failure = restrictionFailure(claims, { issuer, actorId: agentId, jkt: undefined });
  return [
    agent === undefined ? failed('agent', 'the agent is disabled or has expired') : passed('agent'),
    failure === undefined ? passed('restrictions') : failed('restrictions', restrictionTexts[failure]),
  ];
}

const restrictionTexts: Record<RestrictionFailure, string> = {
  'unknown-confirmation': 'cnf has an unknown confirmation method',
  'unproved-key': 'cnf binds it to a key: the request needs a DPoP proof of that key',
  'other-actor': 'may_act names another actor',
};

async function findNearest(
  { find }: TokenCheckDeps,
  issuer: KnownIssuer,
  claims: Claims,
): Promise<TokenCheck['nearest']> {
  const identities = await find.identities.explaining(issuer, claims as WorkloadClaims);
  return nearestIdentities(claims, identities)
    .slice(0, maxNearest)
    .map(({ identity, differences }) => ({ agentId: identity.agentId, differences }));
}
