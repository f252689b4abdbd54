import type { Facts, GrantFacts, Sighting } from '../facts.ts';
import { isPossible, type Kind, latestMs, type Violation } from '../history.ts';

const check = 'grant-states';

/**
 * The allowed transitions, written from the design instead of copied from the broker, so that the two can be
 * compared.
 */
const transitions: Record<string, readonly string[]> = {
  pending: ['active', 'scheduled', 'denied', 'cancelled', 'lapsed'],
  scheduled: ['active', 'cancelled', 'revoked'],
  active: ['expired', 'revoked', 'returned'],
  denied: [],
  cancelled: [],
  lapsed: [],
  expired: [],
  revoked: [],
  returned: [],
};

export const hasEnded = (status: string): boolean => transitions[status]?.length === 0;

/** Whether a grant may be in state `to` some time after it was in state `from`. */
export function mayBecome(from: string, to: string): boolean {
  return from === to || (transitions[from] ?? []).some((next) => mayBecome(next, to));
}

/** The state of a grant after an operation on it has succeeded. */
const results: Partial<Record<Kind, readonly string[]>> = {
  deny: ['denied'],
  cancel: ['cancelled'],
  return: ['returned'],
  'revoke-grant': ['revoked', 'denied'],
};

interface Pair {
  grant: GrantFacts;
  earlier: Sighting;
  later: Sighting;
}

/**
 * Returns every pair of reads, the second of which began after the first had ended, whose states contradict each
 * other.
 */
function unfittingPairs(grant: GrantFacts): Pair[] {
  const byEnd = [...grant.sightings].sort((a, b) => a.operation.endedMs - b.operation.endedMs);
  const seen = new Map<string, Sighting>();
  const pairs: Pair[] = [];
  let next = 0;
  for (const later of grant.sightings) {
    for (let one = byEnd[next]; one && one.operation.endedMs < later.operation.begunMs; one = byEnd[next]) {
      if (!seen.has(one.grant.status)) seen.set(one.grant.status, one);
      next += 1;
    }
    for (const [status, earlier] of seen)
      if (!mayBecome(status, later.grant.status)) pairs.push({ grant, earlier, later });
  }
  return pairs;
}

/** The kinds of operations that may have led to each final status. */
const endKinds: Partial<Record<string, readonly Kind[]>> = {
  revoked: ['revoke-grant', 'disable'],
  returned: ['return'],
};

/** The kinds of operations that may have ended a delegated grant, on the grant or on what it depends on. */
const delegatedEndKinds: readonly Kind[] = [
  'revoke-grant',
  'return',
  'disable',
  'revoke-token',
  'withdraw',
  'compromise',
];

/**
 * Whether the grant expired during an operation that ended it: the operation was decided before the expiry and
 * committed after it, so that a read between the two saw it expire. Both ended the grant, and only a read that waits
 * for the commit could distinguish them.
 */
function isCrossing(facts: Facts, { grant, earlier, later }: Pair): boolean {
  const { expiresAtMs, agentId, attempts } = grant;
  if (earlier.grant.status !== 'expired' || expiresAtMs === undefined) return false;
  const disables = facts.agents.get(agentId)?.possibleDisables ?? [];
  const isDelegated = (later.grant.parentId ?? null) !== null;
  // The operation that ended a delegated grant may have been on any of its ancestors.
  const ends = isDelegated ? delegatedEndKinds : endKinds[later.grant.status];
  return (isDelegated ? facts.operations.filter(isPossible) : [...attempts, ...disables]).some(
    (one) =>
      ends?.includes(one.kind) === true &&
      one.begunAtMs < expiresAtMs &&
      latestMs(one) > earlier.operation.begunMs,
  );
}

function pairsOf(facts: Facts): { wrong: Pair[]; crossing: Pair[] } {
  const pairs = [...facts.grants.values()].flatMap(unfittingPairs);
  const crossing = pairs.filter((pair) => isCrossing(facts, pair));
  return { wrong: pairs.filter((pair) => !crossing.includes(pair)), crossing };
}

/** Counts the grants that expired during an operation that ended them. */
export const crossingsOf = (facts: Facts): number =>
  new Set(pairsOf(facts).crossing.map(({ grant }) => grant.id)).size;

/** Finds grants whose final state changed, or whose states in successive reads do not follow the allowed transitions. */
export function grantStates(facts: Facts): Violation[] {
  const paths = pairsOf(facts).wrong.map(({ grant, earlier, later }) => ({
    check,
    agentId: grant.agentId,
    what: `grant ${grant.id} was ${earlier.grant.status}, and then ${later.grant.status}`,
    operations: [earlier.operation, later.operation],
  }));
  const answers = facts.operations.flatMap((operation) => {
    const [grant] = operation.answered.grants ?? [];
    const expected = results[operation.kind];
    if (grant === undefined || expected === undefined || expected.includes(grant.status)) return [];
    const what = `grant ${grant.id} was ${grant.status} after ${operation.kind} had succeeded`;
    return [{ check, agentId: grant.agentId, what, operations: [operation] }];
  });
  return [...paths, ...answers];
}
