import { createAudit } from '../../src/audit/store.ts';
import type { Act, Person } from '../../src/caller.ts';
import { createEnvelope, type Envelope } from '../../src/crypto/envelope.ts';
import { MasterKey } from '../../src/crypto/master-key.ts';
import type { Db } from '../../src/db/database.ts';
import type { KeyRecord, KeysService } from '../../src/keys/service.ts';
import { createKeysService } from '../../src/keys/service.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

const random = createSystemRandom();

/** What an admin does. */
export const act: Act<Person> = {
  caller: { kind: 'person', id: 'adm_1', keyId: 'adk_1', keyIssuedBy: null, roles: ['admin'], groups: [] },
  origin: { requestId: 'req_1', address: '192.0.2.1' },
};

export function newEnvelope(): Envelope {
  return createEnvelope({ current: new MasterKey(random.bytes(32)), old: [], random });
}

/** The master key of every replica that the tests do not give another one, and its envelope. */
export const masterKey = new MasterKey(random.bytes(32));
export const envelope = createEnvelope({ current: masterKey, old: [], random });

export const noFence = async (): Promise<void> => {};

export interface ReplicaOptions {
  clock?: FakeClock;
  envelope?: Envelope;
  onBroken?: (kid: string, error: Error) => void;
}

/** One replica of the service. */
export function replicaOn(db: Db, options: ReplicaOptions = {}): KeysService {
  const clock = options.clock ?? new FakeClock();
  const ids = createIds(clock, random);
  const audit = createAudit({ clock, ids });
  return createKeysService({ db, audit, clock, ids, envelope, onBroken: () => {}, ...options });
}

export interface StartedDatabase extends TestDatabase {
  /** Back to the keys of the first start, at the time where the fake clock starts. */
  reset(): Promise<void>;
}

/** A database after the first start. Its keys are made once, because RSA keys take their time. */
export async function createStartedDatabase(): Promise<StartedDatabase> {
  const database = await createTestDatabase();
  await replicaOn(database.db).rotateDue(noFence);
  await database.owner.query('create table first_start as select * from signing_keys');
  return {
    ...database,
    async reset() {
      await database.owner.query('truncate signing_keys, audit_events');
      await database.owner.query('insert into signing_keys select * from first_start');
    },
  };
}

/** How many keys of each algorithm are in each state. */
export function census(keys: KeyRecord[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { alg, state } of keys) counts[`${alg} ${state}`] = (counts[`${alg} ${state}`] ?? 0) + 1;
  return counts;
}

/** The `kid` of the only key of `alg` in `state`. */
export function kidOf(keys: KeyRecord[], alg: string, state: string): string {
  const found = keys.filter((key) => key.alg === alg && key.state === state);
  const [key] = found;
  if (key === undefined || found.length > 1) throw new Error(`${found.length} ${state} keys for ${alg}`);
  return key.kid;
}

export interface RecordedEvent {
  type: string;
  actor: string;
  kid: string | null;
  details: unknown;
}

/** What was recorded of keys, by type and key. */
export async function recordedEvents({ db }: TestDatabase): Promise<RecordedEvent[]> {
  const rows = await db
    .selectFrom('audit_events')
    .select(['type', 'actor_kind', 'actor_id', 'object_id', 'details'])
    .orderBy('type')
    .orderBy('object_id')
    .execute();
  return rows.map((row) => ({
    type: row.type,
    actor: `${row.actor_kind} ${row.actor_id}`,
    kid: row.object_id,
    details: row.details,
  }));
}
