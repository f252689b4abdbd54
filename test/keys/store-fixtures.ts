import { createAudit } from '../../src/audit/audit.ts';
import type { Act, Person } from '../../src/caller.ts';
import { createEnvelope, type Envelope } from '../../src/crypto/envelope.ts';
import { MasterKey } from '../../src/crypto/master-key.ts';
import type { Db } from '../../src/db/database.ts';
import {
  createKeysService,
  type KeyRecord,
  type KeysDeps,
  type KeysService,
} from '../../src/keys/service.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { grantEndingsOn } from '../support/grant-endings.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

const random = createSystemRandom();

/** The act of an admin. */
export const act: Act<Person> = {
  caller: { kind: 'person', id: 'adm_1', keyId: 'adk_1', keyIssuedBy: null, roles: ['admin'], groups: [] },
  origin: { requestId: 'req_1', address: '192.0.2.1' },
};

export function newEnvelope(): Envelope {
  return createEnvelope({ current: new MasterKey(random.bytes(32)), old: [], random });
}

/** The master key of every replica for which a test gives no other master key, and its envelope. */
export const masterKey = new MasterKey(random.bytes(32));
export const envelope = createEnvelope({ current: masterKey, old: [], random });

export const noFence = async (): Promise<void> => {};

export interface ReplicaOptions {
  clock?: FakeClock;
  envelope?: Envelope;
  onBroken?: (kid: string, error: Error) => void;
  generateKeyPair?: NonNullable<KeysDeps['generateKeyPair']>;
}

/** Creates one replica of the service. */
export function replicaOn(db: Db, options: ReplicaOptions = {}): KeysService {
  const clock = options.clock ?? new FakeClock();
  const ids = createIds(clock, random);
  const audit = createAudit({ clock, ids });
  const grantEndings = grantEndingsOn({ db, clock, ids });
  return createKeysService({ db, audit, clock, ids, envelope, grantEndings, onBroken: () => {}, ...options });
}

export interface StartedDatabase extends TestDatabase {
  /** Resets to the keys of the first start, at the initial time of the fake clock. */
  reset(): Promise<void>;
}

/** Creates a database after the first start. Its keys are created once, because RSA keys take long. */
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

/** Returns how many keys of each algorithm are in each state. */
export function census(keys: KeyRecord[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { alg, state } of keys) counts[`${alg} ${state}`] = (counts[`${alg} ${state}`] ?? 0) + 1;
  return counts;
}

/** Returns the `kid` of the only key of `alg` in `state`. */
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

/** Returns the audit events of keys, by type and key. */
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
