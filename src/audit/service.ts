import type { Caller, Origin } from '../caller.ts';
import type { Db } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { withTransaction } from '../db/transaction.ts';
import { type AuditEvent, byAct, systemActor } from './audit-event.ts';
import { type Audit, type AuditFilter, type AuditPage, listEvents } from './store.ts';

export interface Denial {
  caller: Caller;
  origin: Origin;
  /** The contract's name for what was tried. */
  operation: string;
  code: string;
  /** What it was tried on, as far as its path says. */
  subject: Pick<AuditEvent, 'agentId' | 'grantId' | 'objectId'>;
}

export interface AuditService {
  list(filter: AuditFilter, page: AuditPage): Promise<Page<AuditEvent>>;
  /** Records that an authenticated caller was refused something. */
  recordDenial(denial: Denial): Promise<void>;
  /** Records how often each address was refused without having authenticated, since the last call. */
  recordStrangers(counts: ReadonlyMap<string, number>): Promise<void>;
}

export function createAuditService({ db, audit }: { db: Db; audit: Audit }): AuditService {
  return {
    async list(filter, page) {
      return takePage(await listEvents(db, filter, { ...page, limit: page.limit + 1 }), page.limit);
    },
    recordDenial({ caller, origin, operation, code, subject }) {
      // An event is about one agent: the one that something was to be done to, else the one that tried.
      const agentId = subject.agentId ?? (caller.kind === 'agent' ? caller.id : null);
      return withTransaction(db, (tx) =>
        audit.append(tx, {
          ...byAct({ caller, origin }),
          type: 'access.denied',
          outcome: 'denied',
          ...subject,
          agentId,
          details: { operation, code },
        }),
      );
    },
    recordStrangers(counts) {
      const events = [...counts].map(([address, count]) => ({
        type: 'strangers.refused' as const,
        outcome: 'denied' as const,
        actor: systemActor('edge'),
        details: { address, count },
      }));
      return withTransaction(db, (tx) => audit.append(tx, ...events));
    },
  };
}
