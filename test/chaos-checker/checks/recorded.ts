import type { Facts } from '../facts.ts';
import { isOk, type Kind, type Violation } from '../history.ts';

const check = 'recorded';

/**
 * The kinds of operations that change something whenever they succeed. Requests for grants and withdrawals are not among
 * them, because repeated ones change nothing.
 */
const changes: ReadonlySet<Kind> = new Set<Kind>([
  'approve',
  'deny',
  'cancel',
  'return',
  'revoke-grant',
  'broker-token',
  'mint',
  'mint-pinned',
  'exchange',
  'issue-secret',
  'disable',
  'enable',
  'rotate',
  'compromise',
  'lease',
  'renew-lease',
]);

interface TokenRecord {
  jti: string;
  agentId: string;
}

function missing(records: readonly TokenRecord[], from: readonly TokenRecord[], what: string): Violation[] {
  const known = new Set(from.map(({ jti }) => jti));
  return records
    .filter(({ jti }) => !known.has(jti))
    .map(({ jti, agentId }) => ({ check, agentId, what: `token ${jti} ${what}`, operations: [] }));
}

/**
 * Finds issued tokens without a row or an event, rows without an event, events without a row, and successful changes
 * without an event.
 */
export function recorded(facts: Facts): Violation[] {
  const { finalState, operations } = facts;
  if (finalState === undefined) return [];
  const { tokenRows, tokenEvents, recordedRequests } = finalState;
  const issued = [...facts.tokens.values()].map(({ token: { jti, agentId } }) => ({ jti, agentId }));
  const unrecorded = operations
    .filter((one) => isOk(one) && changes.has(one.kind) && !recordedRequests.has(one.requestId ?? ''))
    .map((one) => ({
      check,
      agentId: one.answered.grants?.[0]?.agentId ?? one.asked.agentId,
      what: `${one.kind} succeeded and has no event`,
      operations: [one],
    }));
  return [
    ...missing(issued, tokenRows, 'was issued and has no row'),
    ...missing(issued, tokenEvents, 'was issued and has no event'),
    ...missing(tokenRows, tokenEvents, 'has a row and no event'),
    ...missing(tokenEvents, tokenRows, 'has an event and no row'),
    ...unrecorded,
  ];
}
