import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { signingAlgs } from '../../src/crypto/algorithms.ts';
import { createEnvelope, type Envelope } from '../../src/crypto/envelope.ts';
import { MasterKey } from '../../src/crypto/master-key.ts';
import { checkMasterKey } from '../../src/keys/master-key-check.ts';
import type { KeysService } from '../../src/keys/service.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { createAgent, startBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase } from '../support/test-database.ts';
import {
  act,
  createStartedDatabase,
  kidOf,
  noFence,
  masterKey as oldMaster,
  envelope as oldOnly,
  recordedEvents,
  replicaOn,
  type StartedDatabase,
} from './store-fixtures.ts';

const random = createSystemRandom();
const newMaster = new MasterKey(random.bytes(32));
const both = createEnvelope({ current: newMaster, old: [oldMaster], random });
const newOnly = createEnvelope({ current: newMaster, old: [], random });
const wrongKey = /^HALLPASS_MASTER_KEY is not the key/;

let database: StartedDatabase;
let clock: FakeClock;

beforeAll(async () => {
  database = await createStartedDatabase();
});

beforeEach(async () => {
  await database.reset();
  await database.owner.query('truncate master_key_check');
  clock = new FakeClock();
});

const replica = (envelope: Envelope): KeysService => replicaOn(database.db, { clock, envelope });
const check = (envelope: Envelope): Promise<void> => checkMasterKey({ db: database.db, envelope });
const canSign = (keys: KeysService): boolean =>
  signingAlgs.every((alg) => keys.ring.signer(alg) !== undefined) && keys.ring.broken().length === 0;

describe('a new master key', () => {
  it('allows the old one to be removed after one run of the job', async () => {
    await check(oldOnly);
    await check(both);
    expect(await replica(both).rotateDue(noFence)).toBe(6);
    await check(newOnly);
    const alone = replica(newOnly);
    await alone.start();
    expect(canSign(alone)).toBe(true);
    clock.advance(24 * 3600);
    await alone.rotateDue(noFence);
    expect(canSign(alone)).toBe(true);
  });

  it('allows the old one to be removed even if a replica without the new one was the last to start', async () => {
    await check(both);
    await check(createEnvelope({ current: oldMaster, old: [newMaster], random }));
    await expect(check(newOnly)).rejects.toThrow(wrongKey);
    await replica(both).rotateDue(noFence);
    await check(newOnly);
    await expect(check(oldOnly)).rejects.toThrow(wrongKey);
  });

  it('is then the only one that is accepted', async () => {
    await check(oldOnly);
    await check(both);
    await expect(check(oldOnly)).rejects.toThrow(wrongKey);
    await expect(
      check(createEnvelope({ current: new MasterKey(random.bytes(32)), old: [], random })),
    ).rejects.toThrow(wrongKey);
    await check(newOnly);
  });

  it('is audited for each key that is encrypted again, once, for any number of replicas', async () => {
    const counts = await Promise.all(Array.from({ length: 20 }, () => replica(both).rotateDue(noFence)));
    expect(counts.filter((count) => count !== 0)).toEqual([6]);
    const keys = await replica(both).list();
    const events = await recordedEvents(database);
    expect(events).toHaveLength(6);
    for (const { kid, ...event } of events) {
      const alg = keys.find((key) => key.kid === kid)?.alg;
      expect(event).toEqual({ type: 'key.resealed', actor: 'system rotate-keys', details: { alg } });
    }
  });

  it('leaves keys that are never decrypted again, and one that cannot be decrypted, unchanged', async () => {
    const [before, rotating] = [await sealed(), replica(oldOnly)];
    const prepared = kidOf(await rotating.list(), 'RS256', 'prepared');
    await database.owner.query("update signing_keys set private_sealed = '\\x00' where kid = $1", [prepared]);
    clock.advance(360);
    await rotating.rotate(act, { compromised: true, reason: 'leaked' });
    const compromised = kidOf(await rotating.list(), 'ES256', 'compromised');
    await replica(both).rotateDue(noFence);
    const after = await sealed();
    expect(after.get(compromised)).toEqual(before.get(compromised));
    expect(after.get(prepared)).toEqual(Buffer.of(0));
    const current = [...after].filter(([, bytes]) => newOnly.isCurrent(bytes));
    expect(current).toHaveLength(after.size - 2);
  });

  it('changes nothing while its audit events cannot be written', async () => {
    const before = await sealed();
    await database.owner.query('alter table audit_events rename to away');
    await expect(replica(both).rotateDue(noFence)).rejects.toMatchObject({ code: 'unavailable' });
    await database.owner.query('alter table away rename to audit_events');
    expect(await sealed()).toEqual(before);
  });
});

async function sealed(): Promise<Map<string, Buffer>> {
  const rows = await database.db.selectFrom('signing_keys').select(['kid', 'private_sealed']).execute();
  return new Map(rows.map((row) => [row.kid, row.private_sealed]));
}

it('a broker starts with the old master key, with the new one beside it, and with the new one alone', async () => {
  const own = await createTestDatabase();
  for (const config of [
    { masterKey: oldMaster },
    { masterKey: newMaster, oldMasterKeys: [oldMaster] },
    { masterKey: newMaster },
  ]) {
    const broker = await startBroker({ clock, database: own, config });
    await (await createAgent(broker)).token().expect(200);
  }
  await expect(startBroker({ clock, database: own, config: { masterKey: oldMaster } })).rejects.toThrow(
    wrongKey,
  );
});
