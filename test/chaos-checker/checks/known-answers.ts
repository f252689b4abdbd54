import type { Facts } from '../facts.ts';
import type { Violation } from '../history.ts';

/** Every response is one that the broker intends, regardless of what fails: never a 500. */
export function knownAnswers({ operations }: Facts): Violation[] {
  return operations
    .filter(({ status }) => status === 500)
    .map((operation) => ({
      check: 'known-answers',
      agentId: operation.asked.agentId,
      what: `${operation.kind} was answered with 500`,
      operations: [operation],
    }));
}
