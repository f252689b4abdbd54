import { type Conditions, findDifferences, meetsConditions } from '../trusted-issuers/conditions.ts';
import type { RefusedToken } from './trusted-token.ts';
import { describeDifferences, show, type WorkloadClaims } from './workload-token.ts';

/** An identity of an agent at a trusted issuer. */
export interface ClientIdentity {
  id: string;
  agentId: string;
  /** The required `sub`; null if any `sub` is accepted. */
  subject: string | null;
  claims: Conditions;
}

/**
 * `unknown-identity`: the token has no claim that identifies an agent. `wrong-identity`: it has one, but other claims
 * differ. `several-agents`: the token matches identities of more than one agent, so its agent is ambiguous.
 */
export type IdentityFailure =
  | 'unknown-identity'
  | 'wrong-identity'
  | 'several-agents'
  /** The token matches too many identities in part for all of them to be compared. */
  | 'too-many-identities';

export type MatchedIdentity =
  | { ok: true; identity: ClientIdentity }
  | (Omit<RefusedToken, 'reason'> & { reason: IdentityFailure });

/**
 * Finds the identity that verified claims match; undefined if they match no identity. All matching identities must belong to
 * one agent.
 */
export function matchIdentity(
  claims: WorkloadClaims,
  identities: readonly ClientIdentity[],
): MatchedIdentity | undefined {
  const matches = identities.filter((identity) => isOf(claims, identity));
  const [first] = matches;
  if (first === undefined) return undefined;
  return matches.some(({ agentId }) => agentId !== first.agentId)
    ? { ok: false, reason: 'several-agents' }
    : { ok: true, identity: first };
}

function isOf(claims: WorkloadClaims, { subject, claims: conditions }: ClientIdentity): boolean {
  return (subject === null || claims.sub === subject) && meetsConditions(claims, conditions);
}

/** Makes the refusal of verified claims that match no identity, with the differences from the nearest one. */
export function refuseIdentity(
  claims: WorkloadClaims,
  identities: readonly ClientIdentity[],
): MatchedIdentity & { ok: false } {
  const nearest = nearestIdentities(claims, identities)[0];
  if (nearest === undefined)
    return { ok: false, reason: 'unknown-identity', detail: `no agent has the identity ${show(claims.sub)}` };
  const detail = `agent ${nearest.identity.agentId}: ${describeDifferences(nearest.differences)}`;
  return { ok: false, reason: 'wrong-identity', detail };
}

/**
 * Returns the identities with the claims that differ from the token, beginning with the identity with the fewest
 * differences.
 */
export function nearestIdentities(claims: Record<string, unknown>, identities: readonly ClientIdentity[]) {
  return identities
    .map((identity) => ({ identity, differences: differencesFrom(claims, identity) }))
    .sort((one, other) => one.differences.length - other.differences.length);
}

function differencesFrom(claims: Record<string, unknown>, { subject, claims: conditions }: ClientIdentity) {
  const differing = findDifferences(claims, conditions);
  return subject === null || claims.sub === subject
    ? differing
    : [{ claim: 'sub', expected: subject, actual: claims.sub ?? null }, ...differing];
}
