import { beforeAll, beforeEach, expect, it } from 'vitest';
import { createEnvelope } from '../../src/crypto/envelope.ts';
import { MasterKey } from '../../src/crypto/master-key.ts';
import { checkMasterKey } from '../../src/keys/master-key-check.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';
import { newEnvelope } from './store-fixtures.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

beforeEach(async () => {
  await database.owner.query('truncate master_key_check');
});

const random = createSystemRandom();
const newMaster = () => new MasterKey(random.bytes(32));
const wrongKey = 'HALLPASS_MASTER_KEY is not the key that the secrets in this database were sealed with';

it('the master key of the first start is accepted at every later start', async () => {
  const deps = { db: database.db, envelope: newEnvelope() };
  for (let i = 0; i < 3; i += 1) await checkMasterKey(deps);
});

it('another master key is refused with one line that names its setting, and changes nothing', async () => {
  const first = newEnvelope();
  await checkMasterKey({ db: database.db, envelope: first });
  await expect(checkMasterKey({ db: database.db, envelope: newEnvelope() })).rejects.toThrow(
    new Error(wrongKey),
  );
  await checkMasterKey({ db: database.db, envelope: first });
});

it('the check value is encrypted again once, by the first of 20 replicas that start with a new master key', async () => {
  const [old, current] = [newMaster(), newMaster()];
  const { db, owner } = database;
  await checkMasterKey({ db, envelope: createEnvelope({ current: old, old: [], random }) });
  const both = createEnvelope({ current, old: [old], random });
  await Promise.all(Array.from({ length: 20 }, () => checkMasterKey({ db, envelope: both })));
  const read = () => owner.query('select sealed from master_key_check');
  const [row] = (await read()).rows;
  expect(both.isCurrent(row.sealed)).toBe(true);
  await checkMasterKey({ db, envelope: both });
  expect((await read()).rows).toEqual([row]);
});

it('a new master key is accepted as long as the old one is kept for decryption', async () => {
  const [old, current] = [newMaster(), newMaster()];
  await checkMasterKey({
    db: database.db,
    envelope: createEnvelope({ current: old, old: [], random }),
  });
  await checkMasterKey({
    db: database.db,
    envelope: createEnvelope({ current, old: [old], random }),
  });
});

it.each([
  ['that was encrypted for another place', { row: 'other' }, 'hallpass master key check'],
  ['that contains another text', {}, 'another text'],
])('a check value %s is refused', async (_, place, text) => {
  const envelope = newEnvelope();
  const here = { table: 'master_key_check', column: 'sealed', row: 'singleton' };
  await database.owner.query('insert into master_key_check (sealed) values ($1)', [
    envelope.seal(Buffer.from(text), { ...here, ...place }),
  ]);
  await expect(checkMasterKey({ db: database.db, envelope })).rejects.toThrow(wrongKey);
});

it('of 20 replicas that start together with two master keys, only those with one of the two start', async () => {
  const [one, other] = [newEnvelope(), newEnvelope()];
  const checks = await Promise.allSettled(
    Array.from({ length: 20 }, (_, index) =>
      checkMasterKey({ db: database.db, envelope: index % 2 === 0 ? one : other }),
    ),
  );
  const started = checks.flatMap(({ status }, index) => (status === 'fulfilled' ? [index % 2] : []));
  expect(started).toHaveLength(10);
  expect(new Set(started).size).toBe(1);
});
