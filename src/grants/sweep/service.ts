import { type AuditEventType, systemActor } from '../../audit/audit-event.ts';
import type { Audit } from '../../audit/store.ts';
import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import type { Clock } from '../../platform/clock.ts';
import {
  countByStatus,
  type OpenGrants,
  type Swept,
  sweepExpired,
  sweepLapsed,
  sweepOutdated,
} from './store.ts';

const eventTypes: Record<Swept['status'], AuditEventType> = {
  expired: 'grant.expired',
  revoked: 'grant.revoked',
  lapsed: 'grant.lapsed',
  denied: 'grant.denied',
};

/** Run first in a transaction of a job; throws if the job is no longer ours. */
type Fence = (tx: Tx) => Promise<void>;

/** Writes down the endings that time or an epoch has brought; what has ended was inactive before that already. */
export function createGrantSweep({ db, audit, clock }: { db: Db; audit: Audit; clock: Clock }) {
  async function sweep(fence: Fence, by: string, batch: typeof sweepExpired): Promise<number> {
    let total = 0;
    for (;;) {
      const swept = await withTransaction(db, async (tx) => {
        await fence(tx);
        const rows = await batch(tx, { now: clock.now(), by });
        const actor = systemActor(by);
        await audit.append(
          tx,
          ...rows.map(({ id, agentId, status }) => ({
            actor,
            type: eventTypes[status],
            agentId,
            grantId: id,
          })),
        );
        return rows.length;
      });
      total += swept;
      if (swept === 0) return total;
    }
  }
  return {
    /** Ends the grants whose time is over, or whose agent or resource is gone; answers how many. */
    async expireDue(fence: Fence): Promise<number> {
      const outdated = await sweep(fence, 'expire-grants', sweepOutdated);
      return outdated + (await sweep(fence, 'expire-grants', sweepExpired));
    },
    /** Ends the requests that nobody decided in time; answers how many. */
    lapseDue: (fence: Fence) => sweep(fence, 'lapse-requests', sweepLapsed),
    /** For the metrics. */
    countOpen: (): Promise<OpenGrants> => countByStatus(db, clock.now()),
  };
}
