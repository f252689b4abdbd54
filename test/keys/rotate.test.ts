import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { KeysService } from '../../src/keys/service.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  act,
  census,
  createStartedDatabase,
  kidOf,
  recordedEvents,
  replicaOn,
  type StartedDatabase,
} from './store-fixtures.ts';

let database: StartedDatabase;
let clock: FakeClock;
let keys: KeysService;

beforeAll(async () => {
  database = await createStartedDatabase();
});

beforeEach(async () => {
  await database.reset();
  clock = new FakeClock();
  keys = replicaOn(database.db, { clock });
});

const leak = { compromised: true, reason: 'found in a log' } as const;
const quarterly = { compromised: false, reason: 'quarterly' } as const;
const nowhere = 'key_01kjdw0a5vf8h8v0m6gq3r9x2c';
const publishedKids = async () => (await keys.jwks()).keys.map(({ kid }) => kid);
/** Asserts that neither the keys nor the audit log have changed. */
async function expectNothingChanged(): Promise<void> {
  expect(await recordedEvents(database)).toEqual([]);
  expect(census(await keys.list())).toMatchObject({ 'ES256 active': 1, 'ES256 prepared': 1 });
}

describe('a manual rotation', () => {
  it('activates the prepared key of the default algorithm, and returns every key of that algorithm', async () => {
    const before = await keys.list();
    clock.advance(360);
    const answered = await keys.rotate(act, quarterly);
    expect(census(answered)).toEqual({ 'ES256 active': 1, 'ES256 prepared': 1, 'ES256 retiring': 1 });
    expect(kidOf(answered, 'ES256', 'active')).toBe(kidOf(before, 'ES256', 'prepared'));
    expect(answered[0]).toMatchObject({ state: 'prepared', createdAt: clock.now() });
    expect(keys.ring.signer('ES256')?.kid).toBe(kidOf(answered, 'ES256', 'active'));
  });

  it('applies to the given algorithm, or to that of the given key', async () => {
    const before = await keys.list();
    clock.advance(360);
    const byAlg = await keys.rotate(act, { ...quarterly, alg: 'EdDSA' });
    expect(new Set(byAlg.map(({ alg }) => alg))).toEqual(new Set(['EdDSA']));
    const kid = kidOf(before, 'ES256', 'active');
    const byKid = await keys.rotate(act, { ...quarterly, kid });
    expect(new Set(byKid.map(({ alg }) => alg))).toEqual(new Set(['ES256']));
    expect(byKid.find((key) => key.kid === kid)).toMatchObject({
      state: 'retiring',
      retiringAt: clock.now(),
    });
  });

  it('is audited with the admin, the reason and each step', async () => {
    const before = await keys.list();
    clock.advance(360);
    const after = await keys.rotate(act, quarterly);
    const details = { alg: 'ES256', reason: 'quarterly' };
    const actor = 'person adm_1';
    expect(await recordedEvents(database)).toEqual([
      { type: 'key.activated', actor, kid: kidOf(before, 'ES256', 'prepared'), details },
      { type: 'key.prepared', actor, kid: kidOf(after, 'ES256', 'prepared'), details },
      { type: 'key.retiring', actor, kid: kidOf(before, 'ES256', 'active'), details },
    ]);
  });

  it('is refused, with the time to wait, before the prepared key was published long enough', async () => {
    clock.advance(300);
    await expect(keys.rotate(act, quarterly)).rejects.toMatchObject({
      code: 'no-published-key',
      retryAfterSeconds: 60,
    });
    await expectNothingChanged();
  });

  it('happens once for 20 concurrent requests', async () => {
    clock.advance(360);
    const settled = await Promise.allSettled(Array.from({ length: 20 }, () => keys.rotate(act, quarterly)));
    const codes = settled.map((one) =>
      one.status === 'fulfilled' ? 'rotated' : (one.reason as { code: string }).code,
    );
    expect(codes.filter((code) => code === 'rotated')).toHaveLength(1);
    expect(codes.filter((code) => code === 'no-published-key')).toHaveLength(19);
    expect(await recordedEvents(database)).toHaveLength(3);
  });

  it.each([
    ['a key that never existed', { kid: nowhere }, 'not-found'],
    ['a key of another algorithm', { alg: 'EdDSA' as const }, 'invalid-request'],
  ])('of %s is refused', async (_, changes, code) => {
    clock.advance(360);
    const kid = kidOf(await keys.list(), 'ES256', 'active');
    await expect(keys.rotate(act, { ...quarterly, kid, ...changes })).rejects.toMatchObject({ code });
    await expectNothingChanged();
  });

  it('of a key that no longer signs is refused', async () => {
    const kid = kidOf(await keys.list(), 'ES256', 'active');
    clock.advance(360);
    await keys.rotate(act, quarterly);
    await expect(keys.rotate(act, { ...quarterly, kid })).rejects.toMatchObject({
      code: 'key-not-rotatable',
    });
  });
});

describe('a compromise', () => {
  it('removes the active key from the JWKS and from every ring, and activates the prepared one, audited as unpublished', async () => {
    const before = await keys.list();
    const leaked = kidOf(before, 'ES256', 'active');
    await keys.ring.refresh();
    const after = await keys.rotate(act, leak);
    expect(census(after)).toEqual({ 'ES256 active': 1, 'ES256 prepared': 1, 'ES256 compromised': 1 });
    expect(after.find(({ kid }) => kid === leaked)).toMatchObject({ compromisedAt: clock.now() });
    expect(await publishedKids()).not.toContain(leaked);
    expect(keys.ring.verificationKey(leaked)).toBeUndefined();
    expect(keys.ring.signer('ES256')?.kid).toBe(kidOf(before, 'ES256', 'prepared'));
    const details = { alg: 'ES256', reason: leak.reason };
    expect(await recordedEvents(database)).toMatchObject([
      { type: 'key.activated', details: { ...details, unpublished: true } },
      { type: 'key.compromised', kid: leaked, details },
      { type: 'key.prepared', details },
    ]);
  });

  it('is not audited as unpublished if the prepared key was published long enough', async () => {
    clock.advance(360);
    await keys.rotate(act, leak);
    const [activated] = await recordedEvents(database);
    expect(activated).toEqual(expect.objectContaining({ type: 'key.activated', actor: 'person adm_1' }));
    expect(activated?.details).not.toHaveProperty('unpublished');
  });

  it('is refused the second time in a row with the time to wait, and changes nothing then', async () => {
    const once = await keys.rotate(act, leak);
    clock.advance(60);
    await expect(keys.rotate(act, leak)).rejects.toMatchObject({
      code: 'no-published-key',
      retryAfterSeconds: 300,
    });
    expect((await keys.list()).filter(({ alg }) => alg === 'ES256')).toEqual(once);
    expect(await recordedEvents(database)).toHaveLength(3);
    expect(keys.ring.signer('ES256')?.kid).toBe(kidOf(once, 'ES256', 'active'));
  });

  it('of the named key is committed and audited even though the response is that no key can sign', async () => {
    const once = await keys.rotate(act, leak);
    const kid = kidOf(once, 'ES256', 'active');
    await expect(keys.rotate(act, { ...leak, kid })).rejects.toMatchObject({
      code: 'no-published-key',
      retryAfterSeconds: 360,
    });
    expect(census(await keys.list())).toMatchObject({ 'ES256 compromised': 2, 'ES256 prepared': 1 });
    expect(await publishedKids()).not.toContain(kid);
    expect(keys.ring.signer('ES256')).toBeUndefined();
    const events = await recordedEvents(database);
    expect(events.filter(({ type }) => type === 'key.compromised').map((event) => event.kid)).toContain(kid);
  });

  it('of one key by 20 concurrent requests is one compromise', async () => {
    const kid = kidOf(await keys.list(), 'ES256', 'active');
    const settled = await Promise.allSettled(
      Array.from({ length: 20 }, () => keys.rotate(act, { ...leak, kid })),
    );
    expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(census(await keys.list())).toMatchObject({ 'ES256 compromised': 1, 'ES256 active': 1 });
  });

  it('is not made if it cannot be audited', async () => {
    const unrecorded = replicaOn(database.db, { clock: new FakeClock('2031-01-01T00:00:00Z') });
    await expect(unrecorded.rotate(act, leak)).rejects.toMatchObject({
      code: 'unavailable',
      cause: { code: '23514' },
    });
    await expectNothingChanged();
  });
});

it('the list is newest first and has no key material', async () => {
  clock.advance(360);
  await keys.rotate(act, quarterly);
  const listed = await keys.list();
  const times = listed.map(({ createdAt }) => createdAt.getTime());
  expect(times).toEqual([...times].sort((one, other) => other - one));
  for (const key of listed) {
    expect(Object.keys(key).sort()).toEqual(
      ['activatedAt', 'alg', 'compromisedAt', 'createdAt', 'kid', 'retiredAt', 'retiringAt', 'state'].sort(),
    );
  }
});
