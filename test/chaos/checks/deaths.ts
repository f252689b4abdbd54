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

/** The revocations of the tokens that grants were got with: the grants end with these. */
function revocationsByGrant({ operations }: Facts): ReadonlyMap<string, Operation> {
  const revoked = new Map<string, Operation>();
  for (const one of operations.filter(isOk)) {
    if (one.kind === 'revoke-token' && one.asked.jti !== undefined && !revoked.has(one.asked.jti))
      revoked.set(one.asked.jti, one);
  }
  return new Map(
    operations.flatMap(({ asked, answered }) => {
      const by = revoked.get(asked.subjectJti ?? '');
      const grantId = answered.token?.grantId ?? null;
      return by === undefined || grantId === null ? [] : [[grantId, by] as const];
    }),
  );
}

/** One that was handed down is dead when any above it is. */
function deathsOfGrants(facts: Facts): Deaths['grants'] {
  const revocations = revocationsByGrant(facts);
  const deaths = new Map<string, Death | undefined>();
  const deathOf = (grant: GrantFacts): Death | undefined => {
    if (!deaths.has(grant.id)) {
      const parent = facts.grants.get(grant.sightings[0]?.grant.parentId ?? '');
      const revoked = revocations.get(grant.id);
      const above = parent === undefined ? undefined : deathOf(parent);
      const byToken = revoked === undefined ? undefined : deathBy(revoked);
      deaths.set(grant.id, earliest([deathOfGrant(facts, grant), above, byToken]));
    }
    return deaths.get(grant.id);
  };
  for (const grant of facts.grants.values()) deathOf(grant);
  return deaths;
}

/** From when on each grant and each token was certainly dead, its own time aside. */
export function deathsOf(facts: Facts): Deaths {
  const grants = deathsOfGrants(facts);
  const causes = new Map<string, Death>();
  const note = (name: string, by: Operation): void => {
    const death = earliest([causes.get(name), deathBy(by)]);
    if (death !== undefined) causes.set(name, death);
  };
  for (const by of facts.operations.filter(isOk)) {
    if (by.kind === 'revoke-token' && by.asked.jti !== undefined) note(by.asked.jti, by);
    for (const kid of by.answered.compromisedKids ?? []) note(kid, by);
  }
  const tokens = new Map(
    [...facts.tokens.values()].map(({ token, mint }) => {
      const { jti, kid, grantId, agentId } = token;
      const ofGrant = grantId === null ? undefined : grants.get(grantId);
      const disabled = disablingsAfter(facts, agentId, mint).map(deathBy);
      return [jti, earliest([causes.get(jti), causes.get(kid), ofGrant, ...disabled])] as const;
    }),
  );
  return { grants, tokens };
}
