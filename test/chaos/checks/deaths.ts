import type { Facts, GrantFacts } from '../facts.ts';
import { isOk, latestMs, type Operation, precedes } from '../history.ts';
import { hasEnded } from './grant-states.ts';

/** From when on something is certainly dead, and by what. */
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

/** Disablings of the agent after which it may have been enabled too late for `operation`, or not at all. */
export function disablingsStillInForce(facts: Facts, agentId: string, operation: Operation): Operation[] {
  const { disables = [], enables = [] } = facts.agents.get(agentId) ?? {};
  return disables.filter(
    (disable) =>
      !enables.some((enable) => enable.begunMs < operation.endedMs && latestMs(enable) > disable.begunMs),
  );
}

/** Disablings that came after `made` for certain: what was made then is dead, whoever enables the agent again. */
function disablingsAfter(facts: Facts, agentId: string, made: Operation): Operation[] {
  const { disables = [] } = facts.agents.get(agentId) ?? {};
  // Made while a disabling was under way, and nobody had enabled the agent since: then it was made before.
  const inForce = new Set(disablingsStillInForce(facts, agentId, made));
  const overlaps = (disable: Operation) => inForce.has(disable) && latestMs(disable) > made.begunMs;
  return disables.filter((disable) => precedes(made, disable) || overlaps(disable));
}

function deathOfGrant(facts: Facts, grant: GrantFacts): Death | undefined {
  const ended = grant.attempts.filter((one) => isOk(one) && endsGrant.has(one.kind));
  const seen = grant.sightings.filter((one) => hasEnded(one.grant.status)).map(({ operation }) => operation);
  // One whose request was not answered was made before it was first seen.
  const made = grant.request ?? grant.sightings[0]?.operation;
  const disabled = made === undefined ? [] : disablingsAfter(facts, grant.agentId, made);
  return earliest([...ended, ...seen, ...disabled].map(deathBy));
}

/** From when on keys were certainly compromised. */
function compromisesOf({ operations }: Facts): ReadonlyMap<string, Death | undefined> {
  const compromised = new Map<string, Death | undefined>();
  for (const by of operations.filter(isOk)) {
    for (const kid of by.answered.compromisedKids ?? [])
      compromised.set(kid, earliest([compromised.get(kid), deathBy(by)]));
  }
  return compromised;
}

/**
 * What ends a token and, with it, what was got in exchange for it: its revocation, that of what its agent proved itself by,
 * the compromise of its key, and the same of the token that it was itself got in exchange for.
 */
function endingsOfTokens(facts: Facts): ReadonlyMap<string, Death | undefined> {
  const { operations, tokens, withdrawals } = facts;
  const compromised = compromisesOf(facts);
  const revoked = new Map<string, Death | undefined>();
  for (const one of operations.filter(isOk)) {
    const { jti } = one.asked;
    if (one.kind === 'revoke-token' && jti !== undefined)
      revoked.set(jti, earliest([revoked.get(jti), deathBy(one)]));
  }
  const endingOf = (jti: string): Death | undefined => {
    const { token, mint } = tokens.get(jti) ?? {};
    const { by, subjectJti } = mint?.asked ?? {};
    const withdrawn = by !== undefined && 'credential' in by ? withdrawals.get(by.credential) : undefined;
    const before = subjectJti === undefined ? undefined : endingOf(subjectJti);
    const ofKey = token === undefined ? undefined : compromised.get(token.kid);
    return earliest([revoked.get(jti), withdrawn && deathBy(withdrawn), ofKey, before]);
  };
  return new Map([...tokens.keys()].map((jti) => [jti, endingOf(jti)]));
}

type Endings = ReturnType<typeof endingsOfTokens>;

/** The ends of the tokens that grants were got with: the grants end with these. Of a token of its own an agent gets no grant. */
function endingsByGrant({ operations, tokens }: Facts, endings: Endings): ReadonlyMap<string, Death> {
  return new Map(
    operations.flatMap(({ asked: { subjectJti = '' }, answered: { token } }) => {
      const death = endings.get(subjectJti);
      const isOwn = tokens.get(subjectJti)?.token.agentId === token?.agentId;
      const grantId = token?.grantId ?? null;
      return death === undefined || grantId === null || isOwn ? [] : [[grantId, death] as const];
    }),
  );
}

/** One that was handed down is dead when any above it is. */
function deathsOfGrants(facts: Facts, endings: Endings): Deaths['grants'] {
  const bySubject = endingsByGrant(facts, endings);
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

/** From when on each grant and each token was certainly dead, its own time aside. */
export function deathsOf(facts: Facts): Deaths {
  const endings = endingsOfTokens(facts);
  const grants = deathsOfGrants(facts, endings);
  const tokens = new Map(
    [...facts.tokens.values()].map(({ token, mint }) => {
      const { jti, grantId, agentId } = token;
      const ofGrant = grantId === null ? undefined : grants.get(grantId);
      const disabled = disablingsAfter(facts, agentId, mint).map(deathBy);
      return [jti, earliest([endings.get(jti), ofGrant, ...disabled])] as const;
    }),
  );
  return { grants, tokens };
}
