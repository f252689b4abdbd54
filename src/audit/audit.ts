import type { RawBuilder } from 'kysely';
import pg from 'pg';
import type { Db } from '../db/database.ts';
import { isOutage } from '../db/sqlstate.ts';
import { BrokerError } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { NewAuditEvent } from './audit-event.ts';
import { boundEvent } from './bounded-event.ts';
import { insertEvents, insertEventWith } from './store.ts';

/** Appends events to the audit log, each cut to `eventLimits`. `tx` must be the transaction of the change. */
export interface Audit {
  append(tx: Db, ...events: NewAuditEvent[]): Promise<void>;
  /** Appends any number of events, in several statements if necessary. */
  appendAll(tx: Db, events: readonly NewAuditEvent[]): Promise<void>;
  /**
   * Makes a change and appends its event in one statement, which needs no transaction around it. `change` is an SQL
   * statement that returns the changed row. Returns false, and appends nothing, if it has changed no row.
   */
  appendWith(db: Db, change: RawBuilder<unknown>, event: NewAuditEvent): Promise<boolean>;
}

/** Keeps a statement far below the maximum of 65,535 parameters. */
const eventsPerStatement = 1_000;

export function createAudit({ clock, ids }: { clock: Clock; ids: Ids }): Audit {
  const name = (event: NewAuditEvent) => ({ ...boundEvent(event), id: ids.next('event') });
  const audit: Audit = {
    async append(tx, ...events) {
      if (events.length === 0) return;
      try {
        await insertEvents(tx, events.map(name), clock.now());
      } catch (error) {
        throw asUnrecorded(error);
      }
    },
    async appendWith(db, change, event) {
      try {
        return await insertEventWith(db, change, { event: name(event), at: clock.now() });
      } catch (error) {
        throw isOfChange(error) ? error : asUnrecorded(error);
      }
    },
    async appendAll(tx, events) {
      for (let from = 0; from < events.length; from += eventsPerStatement) {
        await audit.append(tx, ...events.slice(from, from + eventsPerStatement));
      }
    },
  };
  return audit;
}

/** Whether a statement violated a rule of another table than that of the events. */
function isOfChange(error: unknown): boolean {
  const table = error instanceof pg.DatabaseError ? error.table : undefined;
  return table !== undefined && !table.startsWith('audit_events');
}

/**
 * Returns the error to throw if an event could not be written, so that the change fails and
 * the caller may retry. An outage is returned unchanged, so that `withTransaction` can retry.
 */
export function asUnrecorded(error: unknown): unknown {
  if (isOutage(error)) return error;
  return new BrokerError('unavailable', {
    cause: error,
    internal: 'the audit event could not be written',
    retryAfterSeconds: 1,
  });
}
