import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { signingAlgs } from '../../src/crypto/algorithms.ts';
import type { Envelope } from '../../src/crypto/envelope.ts';
import { verifyJwt } from '../../src/crypto/jwt.ts';
import type { KeysService } from '../../src/keys/service.ts';
import { observed } from '../policies/store-fixtures.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  act,
  createStartedDatabase,
  envelope,
  kidOf,
  noFence,
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

const issuer = 'https://hallpass.test';
const claims = { iss: issuer, jti: 'j', iat: 1, exp: 2 };
const quarterly = { compromised: false, reason: 'quarterly' } as const;

/** Creates an envelope that records what it decrypts. */
function countingEnvelope(): { envelope: Envelope; opened: string[] } {
  const opened: string[] = [];
  return {
    opened,
    envelope: {
      ...envelope,
      open(sealed, place) {
        opened.push(place.row);
        return envelope.open(sealed, place);
      },
    },
  };
}

describe('the key ring', () => {
  it('is empty before the first read', () => {
    expect(keys.ring.signer('ES256')).toBeUndefined();
  });

  it.each(signingAlgs)('signs access tokens with the active key of %s, and verifies them', async (alg) => {
    await keys.ring.refresh();
    const signer = keys.ring.signer(alg);
    expect(signer?.kid).toBe(kidOf(await keys.list(), alg, 'active'));
    const token = signer?.sign(claims) ?? '';
    const verified = verifyJwt(token, { keys: keys.ring.verificationKey, typ: 'at+jwt', issuer });
    expect(verified).toEqual({ ok: true, claims, kid: signer?.kid });
  });

  it('verifies with every published key, including prepared and retiring ones, and with no other', async () => {
    clock.advance(360);
    await keys.rotate(act, quarterly);
    const listed = await keys.list();
    for (const { kid } of listed) expect(keys.ring.verificationKey(kid)).toBeDefined();
    const retiring = kidOf(listed, 'ES256', 'retiring');
    clock.advance(960);
    await keys.rotateDue(noFence);
    expect(keys.ring.verificationKey(retiring)).toBeUndefined();
    expect(keys.ring.verificationKey('key_nowhere')).toBeUndefined();
  });

  it('decrypts each active key once, and no other key', async () => {
    const counting = countingEnvelope();
    const replica = replicaOn(database.db, { clock, envelope: counting.envelope });
    for (let i = 0; i < 3; i += 1) await replica.ring.refresh();
    const active = (await keys.list()).filter(({ state }) => state === 'active').map(({ kid }) => kid);
    expect(counting.opened.sort()).toEqual(active.sort());
    const before = replica.ring.signer('EdDSA');
    clock.advance(360);
    await keys.rotate(act, quarterly);
    await replica.ring.refresh();
    expect(counting.opened).toHaveLength(4);
    expect(counting.opened.at(-1)).toBe(kidOf(await keys.list(), 'ES256', 'active'));
    expect(replica.ring.signer('EdDSA')).toBe(before);
  });

  it('is read once for 20 concurrent calls', async () => {
    let reads = 0;
    const db = observed(database.db, (query) => {
      if (query.includes('private_sealed')) reads += 1;
      return undefined;
    });
    const replica = replicaOn(db, { clock });
    await Promise.all(Array.from({ length: 20 }, () => replica.ring.refresh()));
    expect(reads).toBe(1);
  });
});

describe('the JWKS', () => {
  const publicMembers = ['alg', 'crv', 'e', 'kid', 'kty', 'n', 'use', 'x', 'y'];

  it('contains every published key, and only public members, even if a row has private ones', async () => {
    await database.owner.query(`update signing_keys set public_jwk = public_jwk ||
      '{"d": "secret", "p": "secret", "q": "secret", "dp": "secret", "dq": "secret", "qi": "secret", "k": "secret"}'`);
    const set = await keys.jwks();
    expect(new Set(set.keys.map(({ kid }) => kid))).toEqual(
      new Set((await keys.list()).map(({ kid }) => kid)),
    );
    for (const key of set.keys) {
      expect(Object.keys(key).filter((name) => !publicMembers.includes(name))).toEqual([]);
      expect(key.use).toBe('sig');
    }
    expect(JSON.stringify(set)).not.toContain('secret');
  });

  it('omits a key that another replica marked as compromised at once, without a refresh', async () => {
    const kid = kidOf(await keys.list(), 'ES256', 'active');
    await replicaOn(database.db, { clock }).rotate(act, { compromised: true, reason: 'leaked' });
    expect((await keys.jwks()).keys.map((key) => key.kid)).not.toContain(kid);
  });
});

it('a private key is stored only encrypted, and its bytes in memory are wiped after use', async () => {
  const plain: Buffer[] = [];
  const keeping: Envelope = {
    ...envelope,
    seal(plaintext, place) {
      plain.push(plaintext);
      return envelope.seal(plaintext, place);
    },
    open(sealed, place) {
      const plaintext = envelope.open(sealed, place);
      expect(sealed.includes(plaintext)).toBe(false);
      plain.push(plaintext);
      return plaintext;
    },
  };
  clock.advance(360);
  await replicaOn(database.db, { clock, envelope: keeping }).rotate(act, quarterly);
  expect(plain).toHaveLength(1 + signingAlgs.length);
  for (const bytes of plain) expect(bytes.every((byte) => byte === 0)).toBe(true);
});
