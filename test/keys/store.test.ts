import { beforeAll, expect, it } from 'vitest';
import { canMove, keyStates } from '../../src/keys/signing-key.ts';
import { insertKey, listKeys, moveKey, type ReachableState } from '../../src/keys/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

const targets: ReachableState[] = ['active', 'retiring', 'retired', 'compromised'];
const moves = keyStates.flatMap((from) => targets.map((to) => ({ from, to })));

it.each(moves)('the database moves a key from $from to $to only if the transition is allowed', async ({
  from,
  to,
}) => {
  await database.owner.query('truncate signing_keys');
  const clock = new FakeClock();
  const kid = 'key_1';
  const key = {
    kid,
    alg: 'ES256',
    state: from,
    privateSealed: Buffer.alloc(0),
    createdAt: clock.now(),
  } as const;
  const publicJwk = { kty: 'EC', kid, alg: 'ES256', use: 'sig' } as const;
  await database.db.transaction().execute((tx) => insertKey(tx, { ...key, publicJwk }));
  clock.advance(60);
  const moved = await database.db.transaction().execute((tx) => moveKey(tx, { kid, to, at: clock.now() }));
  expect(moved).toBe(canMove(from, to));
  const [after] = await listKeys(database.db);
  expect(after?.state).toBe(moved ? to : from);
  if (moved) expect(after?.[`${to}At` as 'activatedAt'] ?? after?.activatedAt).toEqual(clock.now());
});
