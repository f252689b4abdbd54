import type { Facts } from '../facts.ts';
import { isOk, type Operation, type Violation } from '../history.ts';

/** The first operation that showed each lease without access. */
function shownWithoutAccess(operations: readonly Operation[]): ReadonlyMap<string, Operation> {
  const shown = new Map<string, Operation>();
  for (const one of operations) {
    const { lease } = one.answered;
    if (lease === undefined || lease.accessDisabledAtMs === null) continue;
    const first = shown.get(lease.id);
    if (first === undefined || one.endedMs < first.endedMs) shown.set(lease.id, one);
  }
  return shown;
}

/** Finds logins that began after the access of their lease had ended, by its row or by an earlier response. */
export function leaseUse({ operations, finalState }: Facts): Violation[] {
  const shown = shownWithoutAccess(operations);
  const rows = new Map(finalState?.leaseRows.map((row) => [row.id, row]));
  return operations.flatMap((login) => {
    const { leaseId = '', agentId } = login.asked;
    if (login.kind !== 'log-in' || !isOk(login)) return [];
    const before = shown.get(leaseId);
    const disabledAtMs = rows.get(leaseId)?.accessDisabledAtMs ?? null;
    const isShown = before !== undefined && before.endedMs < login.begunMs;
    if (!isShown && (disabledAtMs === null || disabledAtMs >= login.begunAtMs)) return [];
    const what = `lease ${leaseId} was used after its access had ended`;
    return [{ check: 'lease-use', agentId, what, operations: isShown ? [before, login] : [login] }];
  });
}

/**
 * How long an account may outlive its lease. The promise is 5 s (`npm run bench:leases`); three times as long on a machine
 * that does other work.
 */
export const longestOverrunMs = 15_000;

/** Finds accounts without a lease, and accounts that exist too long after the end of their lease. */
export function leaseAccounts({ finalState }: Facts): Violation[] {
  if (finalState === undefined) return [];
  const rows = new Map(finalState.leaseRows.map((row) => [row.accountName, row]));
  return finalState.accounts.flatMap(({ name, atMs }) => {
    const row = rows.get(name);
    if (row !== undefined && atMs - row.endsAtMs <= longestOverrunMs) return [];
    const what =
      row === undefined
        ? `the account ${name} has no lease`
        : `the account of lease ${row.id} exists ${atMs - row.endsAtMs} ms after its end`;
    return [{ check: 'lease-accounts', agentId: row?.agentId, what, operations: [] }];
  });
}
