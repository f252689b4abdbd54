import { agreement } from './checks/agreement.ts';
import { grantStates } from './checks/grant-states.ts';
import { knownAnswers } from './checks/known-answers.ts';
import { leaseAccounts, leaseUse } from './checks/leases.ts';
import { oneTime } from './checks/one-time.ts';
import { recorded } from './checks/recorded.ts';
import { useAfterEnd } from './checks/use-after-end.ts';
import { verifiable } from './checks/verifiable.ts';
import { withinTerms } from './checks/within-terms.ts';
import { type Facts, factsOf } from './facts.ts';
import type { History, Violation } from './history.ts';

/** The checks that every history must pass, regardless of what failed during it. */
export const checks = {
  'use-after-end': useAfterEnd,
  'grant-states': grantStates,
  'one-time': oneTime,
  recorded: recorded,
  'within-terms': withinTerms,
  verifiable,
  agreement,
  'lease-use': leaseUse,
  'lease-accounts': leaseAccounts,
  'known-answers': knownAnswers,
} as const satisfies Record<string, (facts: Facts) => Violation[]>;

export type CheckName = keyof typeof checks;

export function checkHistory(history: History): Violation[] {
  const facts = factsOf(history);
  return Object.values(checks).flatMap((check) => check(facts));
}
