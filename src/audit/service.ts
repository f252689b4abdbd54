import type { Caller, Origin } from '../caller.ts';
import type { Db } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { withTransaction } from '../db/transaction.ts';
import type { Audit } from './audit.ts';
import { type AuditEvent, byAct, type NewAuditEvent, systemActor } from './audit-event.ts';
import { type AuditFilter, type AuditPage, listEvents } from './store.ts';
import type { StrangerReport } from './strangers.ts';

export interface Denial {
  caller: Caller;
  origin: Origin;
  /** The operation id of the refused request. */
  operation: string;
  code: string;
  /** The objects of the request whose ids are in its path. */
  subject: Pick<AuditEvent, 'agentId' | 'grantId' | 'objectId'>;
}

export interface AuditService {
  list(filter: AuditFilter, page: AuditPage): Promise<Page<AuditEvent>>;
  /** Records the refusal of an authenticated caller's request. */
  recordDenial(denial: Denial): Promise<void>;
  /** Records the number of refused unauthenticated requests of each address since the last call. */
  recordStrangers(report: StrangerReport): Promise<void>;
}

export function createAuditService({ db, audit }: { db: Db; audit: Audit }): AuditService {
  return {
    async list(filter, page) {
      return takePage(await listEvents(db, filter, { ...page, limit: page.limit + 1 }), page.limit);
    },
    recordDenial({ caller, origin, operation, code, subject }) {
      // The agent of the event: the object of the request if that is an agent, otherwise the calling agent.
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
    recordStrangers({ addresses, tokens }) {
      const denied = { outcome: 'denied' as const, actor: systemActor('edge') };
      const events: NewAuditEvent[] = [
        ...[...addresses].map(([address, count]) => ({
          ...denied,
          type: 'strangers.refused' as const,
          details: { address, count },
        })),
        ...tokens.map((details) => ({
          ...denied,
          type: 'workload_token.refused' as const,
          details: { ...details },
        })),
      ];
      return withTransaction(db, (tx) => audit.append(tx, ...events));
    },
  };
}
