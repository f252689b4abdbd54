import type { Facts } from '../facts.ts';
import type { Violation } from '../history.ts';

/** Finds responses that the broker never intends, regardless of what fails, such as a 500. */
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
