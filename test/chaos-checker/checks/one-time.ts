import type { Facts } from '../facts.ts';
import { isOk, type Operation, type Violation } from '../history.ts';

const check = 'one-time';

/** Finds requests for a grant that created more than one grant, each sent several times with its key. */
function keys(facts: Facts): Violation[] {
  const rows = new Map<string, number>();
  for (const { reason } of facts.finalState?.grantRows ?? []) rows.set(reason, (rows.get(reason) ?? 0) + 1);
  return [...facts.requests].flatMap(([key, operations]) => {
    const answered = operations.filter(isOk);
    const ids = new Set(answered.flatMap(({ answered: { grants = [] } }) => grants.map(({ id }) => id)));
    const made = Math.max(ids.size, rows.get(key) ?? 0);
    if (made < 2) return [];
    const { agentId } = operations[0]?.asked ?? {};
    return [{ check, agentId, what: `key ${key} made ${made} grants`, operations: answered }];
  });
}

/** Finds people whose approval of the same grant succeeded more than once. */
function approvals(facts: Facts): Violation[] {
  return [...facts.grants.values()].flatMap(({ id, agentId, attempts }) => {
    const byPerson = new Map<string, Operation[]>();
    for (const one of attempts.filter((attempt) => attempt.kind === 'approve' && isOk(attempt))) {
      const person = one.asked.personId ?? '';
      byPerson.set(person, [...(byPerson.get(person) ?? []), one]);
    }
    return [...byPerson]
      .filter(([, operations]) => operations.length > 1)
      .map(([person, operations]) => ({
        check,
        agentId,
        what: `${person} approved grant ${id} ${operations.length} times`,
        operations,
      }));
  });
}

/** Finds grants that list a person twice among the approvers. */
function approvers(facts: Facts): Violation[] {
  return [...facts.grants.values()].flatMap(({ id, agentId, sightings }) =>
    sightings
      .filter(({ grant: { approvedBy } }) => new Set(approvedBy).size < approvedBy.length)
      .slice(0, 1)
      .map(({ operation }) => ({
        check,
        agentId,
        what: `a person is counted twice for grant ${id}`,
        operations: [operation],
      })),
  );
}

/**
 * Finds client assertions and DPoP proofs with which more than one request succeeded. A request whose outcome is
 * unknown may have used the value, too.
 */
function proofs(facts: Facts): Violation[] {
  return [...facts.once].flatMap(([name, sent]) => {
    const operations = sent.filter(isOk);
    if (operations.length < 2) return [];
    const { agentId } = operations[0]?.asked ?? {};
    return [{ check, agentId, what: `${name} was taken ${operations.length} times`, operations }];
  });
}

/** Finds one-time operations that took effect twice, also through concurrent requests to different replicas. */
export const oneTime = (facts: Facts): Violation[] => [
  ...keys(facts),
  ...approvals(facts),
  ...approvers(facts),
  ...proofs(facts),
];
