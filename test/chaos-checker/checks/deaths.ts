import type { Facts, GrantFacts } from '../facts.ts';
import { isOk, latestMs, type Operation, precedes } from '../history.ts';
import { hasEnded } from './grant-states.ts';

/** The time from which a grant or token has certainly ended, and the operation that ended it. */
export interface Death {
  atMs: number;
  by: Operation;
}

export interface Deaths {
  grants: ReadonlyMap<string, Death | undefined>;
  tokens: ReadonlyMap<string, Death | undefined>;
}

const endsGrant: ReadonlySet<string> = new Set(['deny', 'cancel', 'return', 'revoke-grant']);

const deathBy = (by: Operation): Death => ({ atMs: by.endedMs, by });

function earliest(deaths: readonly (Death | undefined)[]): Death | undefined {
  return deaths.reduce((first, death) => {
    if (first === undefined || death === undefined) return first ?? death;
    return death.atMs < first.atMs ? death : first;
  }, undefined);
}

/** Returns the disablings of the agent after which it may not have been enabled again before the end of `operation`. */
export function disablingsStillInForce(facts: Facts, agentId: string, operation: Operation): Operation[] {
  const { disables = [], enables = [] } = facts.agents.get(agentId) ?? {};
  return disables.filter(
    (disable) =>
      !enables.some((enable) => enable.begunMs < operation.endedMs && latestMs(enable) > disable.begunMs),
  );
}

/**
 * Returns the disablings that certainly came after `made`: what was created then has ended, even if the agent is
 * enabled again.
 */
function disablingsAfter(facts: Facts, agentId: string, made: Operation): Operation[] {
  const { disables = [] } = facts.agents.get(agentId) ?? {};
  // If it was created during a disabling, and nobody may have enabled the agent since, then it was created before.
  const inForce = new Set(disablingsStillInForce(facts, agentId, made));
  const overlaps = (disable: Operation) => inForce.has(disable) && latestMs(disable) > made.begunMs;
  return disables.filter((disable) => precedes(made, disable) || overlaps(disable));
}

function deathOfGrant(facts: Facts, grant: GrantFacts): Death | undefined {
  const ended = grant.attempts.filter((one) => isOk(one) && endsGrant.has(one.kind));
  const seen = grant.sightings.filter((one) => hasEnded(one.grant.status)).map(({ operation }) => operation);
  // A grant whose request got no response was created before it was first seen.
  const made = grant.request ?? grant.sightings[0]?.operation;
  const disabled = made === undefined ? [] : disablingsAfter(facts, grant.agentId, made);
  return earliest([...ended, ...seen, ...disabled].map(deathBy));
}

/** Returns when keys were certainly compromised. */
function compromisesOf({ operations }: Facts): ReadonlyMap<string, Death | undefined> {
  const compromised = new Map<string, Death | undefined>();
  for (const by of operations.filter(isOk)) {
    for (const kid of by.answered.compromisedKids ?? [])
      compromised.set(kid, earliest([compromised.get(kid), deathBy(by)]));
  }
  return compromised;
}

/**
 * Returns what ends each token and, with it, the grants and tokens it was exchanged for: its revocation, the
 * withdrawal of its agent's credential, the compromise of its key, and the same for its own subject token.
 */
function deathsOfTokens(facts: Facts): ReadonlyMap<string, Death | undefined> {
  const { operations, tokens, withdrawals } = facts;
  const compromised = compromisesOf(facts);
  const revoked = new Map<string, Death | undefined>();
  for (const one of operations.filter(isOk)) {
    const { jti } = one.asked;
    if (one.kind === 'revoke-token' && jti !== undefined)
      revoked.set(jti, earliest([revoked.get(jti), deathBy(one)]));
  }
  const deathOfToken = (jti: string): Death | undefined => {
    const { token, mint } = tokens.get(jti) ?? {};
    const { by, subjectJti } = mint?.asked ?? {};
    const withdrawn = by !== undefined && 'credential' in by ? withdrawals.get(by.credential) : undefined;
    const before = subjectJti === undefined ? undefined : deathOfToken(subjectJti);
    const ofKey = token === undefined ? undefined : compromised.get(token.kid);
    return earliest([revoked.get(jti), withdrawn && deathBy(withdrawn), ofKey, before]);
  };
  return new Map([...tokens.keys()].map((jti) => [jti, deathOfToken(jti)]));
}

type TokenDeaths = ReturnType<typeof deathsOfTokens>;

/**
 * Returns the ends of the subject tokens of delegated grants, which end with them. An agent that exchanges its own
 * token gets no delegated grant.
 */
function deathsBySubjectToken(
  { operations, tokens }: Facts,
  tokenDeaths: TokenDeaths,
): ReadonlyMap<string, Death> {
  return new Map(
    operations.flatMap(({ asked: { subjectJti = '' }, answered: { token } }) => {
      const death = tokenDeaths.get(subjectJti);
      const isOwn = tokens.get(subjectJti)?.token.agentId === token?.agentId;
      const grantId = token?.grantId ?? null;
      return death === undefined || grantId === null || isOwn ? [] : [[grantId, death] as const];
    }),
  );
}

/** Returns the end of each grant. A delegated grant ends with any of its ancestors. */
function deathsOfGrants(facts: Facts, tokenDeaths: TokenDeaths): Deaths['grants'] {
  const bySubject = deathsBySubjectToken(facts, tokenDeaths);
  const deaths = new Map<string, Death | undefined>();
  const deathOf = (grant: GrantFacts): Death | undefined => {
    if (!deaths.has(grant.id)) {
      const parent = facts.grants.get(grant.sightings[0]?.grant.parentId ?? '');
      const above = parent === undefined ? undefined : deathOf(parent);
      deaths.set(grant.id, earliest([deathOfGrant(facts, grant), above, bySubject.get(grant.id)]));
    }
    return deaths.get(grant.id);
  };
  for (const grant of facts.grants.values()) deathOf(grant);
  return deaths;
}

/** Returns when each grant and each token has certainly ended, apart from expiry. */
export function deathsOf(facts: Facts): Deaths {
  const tokenDeaths = deathsOfTokens(facts);
  const grants = deathsOfGrants(facts, tokenDeaths);
  const tokens = new Map(
    [...facts.tokens.values()].map(({ token, mint }) => {
      const { jti, grantId, agentId } = token;
      const ofGrant = grantId === null ? undefined : grants.get(grantId);
      const disabled = disablingsAfter(facts, agentId, mint).map(deathBy);
      return [jti, earliest([tokenDeaths.get(jti), ofGrant, ...disabled])] as const;
    }),
  );
  return { grants, tokens };
}
