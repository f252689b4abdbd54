import type { KyselyPlugin } from 'kysely';
import { createAudit } from '../../src/audit/audit.ts';
import type { Act, Person } from '../../src/caller.ts';
import type { Db } from '../../src/db/database.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { createPoliciesService, type PoliciesService } from '../../src/policies/service.ts';
import { FakeClock } from '../support/fake-clock.ts';
import type { TestDatabase } from '../support/test-database.ts';

/** The act of an admin, as the caller of a service. */
export const act: Act<Person> = {
  caller: { kind: 'person', id: 'adm_1', keyId: 'adk_1', keyIssuedBy: null, roles: ['admin'], groups: [] },
  origin: { requestId: 'req_1', address: '192.0.2.1' },
};

/** Creates one replica of the service on `db`. */
export function replicaOn(db: Db, clock = new FakeClock()): PoliciesService {
  const random = createSystemRandom();
  const ids = createIds(clock, random);
  return createPoliciesService({ db, audit: createAudit({ clock, ids }), clock, ids, random });
}

/**
 * Wraps `db` to call `see` after every query. The result of the query is delayed until the promise of `see` resolves.
 */
export function observed(db: Db, see: (query: string) => Promise<void> | undefined): Db {
  const queries = new WeakMap<object, string>();
  const plugin: KyselyPlugin = {
    transformQuery({ node, queryId }) {
      queries.set(queryId, JSON.stringify(node));
      return node;
    },
    async transformResult({ result, queryId }) {
      await see(queries.get(queryId) ?? '');
      return result;
    },
  };
  return db.withPlugin(plugin);
}

export interface RecordedEvent {
  type: string;
  actor: string;
  objectId: string | null;
  details: unknown;
}

/** Returns the audit events of policies, oldest first. */
export async function recordedEvents(database: TestDatabase): Promise<RecordedEvent[]> {
  const rows = await database.db
    .selectFrom('audit_events')
    .select(['type', 'actor_kind', 'actor_id', 'object_id', 'details'])
    .where('type', 'like', 'policy.%')
    .orderBy('tx')
    .execute();
  return rows.map((row) => ({
    type: row.type,
    actor: `${row.actor_kind} ${row.actor_id}`,
    objectId: row.object_id,
    details: row.details,
  }));
}

/** Reads the epoch from the database. */
export async function storedEpoch({ db }: TestDatabase): Promise<bigint> {
  const row = await db.selectFrom('policy_epoch').select('epoch').executeTakeFirstOrThrow();
  return BigInt(row.epoch);
}
