import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { signingAlgs } from '../../src/crypto/algorithms.ts';
import { type Envelope, EnvelopeError } from '../../src/crypto/envelope.ts';
import { verifyJwt } from '../../src/crypto/jwt.ts';
import type { KeysService } from '../../src/keys/service.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  createStartedDatabase,
  kidOf,
  newEnvelope,
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

const swap = (column: 'private_sealed' | 'public_jwk', one: string, other: string) =>
  database.owner.query(
    `update signing_keys k set ${column} = o.${column} from signing_keys o
      where (k.kid, o.kid) in (($1, $2), ($2, $1))`,
    [one, other],
  );

/** Creates a replica, and collects its reports of broken keys, one line for each. */
function reporting(options: { envelope?: Envelope } = {}): { replica: KeysService; reports: string[] } {
  const reports: string[] = [];
  const onBroken = (kid: string, error: Error) => void reports.push(`${kid}: ${error.message}`);
  return { replica: replicaOn(database.db, { clock, onBroken, ...options }), reports };
}

const brokenKids = (replica: KeysService): string[] => replica.ring.broken().map(({ kid }) => kid);

describe('an encrypted private key', () => {
  it('cannot be decrypted in another row: the key is reported once and never signs, and other keys sign', async () => {
    const listed = await keys.list();
    const active = kidOf(listed, 'ES256', 'active');
    await swap('private_sealed', active, kidOf(listed, 'ES256', 'prepared'));
    const { replica, reports } = reporting();
    for (let i = 0; i < 3; i += 1) {
      await replica.ring.refresh();
      expect(replica.ring.signer('ES256')).toBeUndefined();
      expect(brokenKids(replica)).toEqual([active]);
    }
    expect(reports).toEqual([
      `${active}: signing key ${active} is not usable: EnvelopeError: not-authentic: sealed value in signing_keys.private_sealed of row ${active}`,
    ]);
    expect(replica.ring.signer('EdDSA')?.kid).toBe(kidOf(listed, 'EdDSA', 'active'));
    expect(replica.ring.signer('RS256')?.kid).toBe(kidOf(listed, 'RS256', 'active'));
    expect(replica.ring.verificationKey(active)).toBeDefined();
  });

  it('is used to sign again after it was fixed, and is reported again if it breaks again', async () => {
    const listed = await keys.list();
    const [active, prepared] = [kidOf(listed, 'ES256', 'active'), kidOf(listed, 'ES256', 'prepared')];
    const { replica, reports } = reporting();
    for (const count of [1, 2]) {
      await swap('private_sealed', active, prepared);
      await replica.ring.refresh();
      expect([brokenKids(replica), reports.length]).toEqual([[active], count]);
      await swap('private_sealed', active, prepared);
      await replica.ring.refresh();
      expect(replica.ring.signer('ES256')?.kid).toBe(active);
      expect(brokenKids(replica)).toEqual([]);
      // The ring keeps a signer as long as its key stays: retiring the key makes the ring drop the signer.
      await database.owner.query("update signing_keys set state = 'retired' where kid = $1", [active]);
      await replica.ring.refresh();
      await database.owner.query("update signing_keys set state = 'active' where kid = $1", [active]);
    }
  });

  it('cannot be decrypted under another master key: no key signs, every active key is reported, and old tokens verify', async () => {
    await keys.ring.refresh();
    const token = keys.ring.signer('ES256')?.sign(claims) ?? '';
    const { replica, reports } = reporting({ envelope: newEnvelope() });
    await replica.ring.refresh();
    const active = (await keys.list()).filter(({ state }) => state === 'active').map(({ kid }) => kid);
    expect(reports).toHaveLength(active.length);
    for (const report of reports) expect(report).toMatch(/^key_\w{26}: .*EnvelopeError: unknown-key-version/);
    expect(brokenKids(replica).sort()).toEqual(active.sort());
    expect(replica.ring.broken()[0]?.error.cause).toBeInstanceOf(EnvelopeError);
    for (const alg of signingAlgs) expect(replica.ring.signer(alg)).toBeUndefined();
    expect(await replica.status()).toMatchObject({ canSign: false, broken: expect.arrayContaining(active) });
    expect(verifyJwt(token, { keys: replica.ring.verificationKey, typ: 'at+jwt', issuer })).toMatchObject({
      ok: true,
    });
  });

  it('is not used for another algorithm', async () => {
    const kid = kidOf(await keys.list(), 'EdDSA', 'active');
    await database.owner.query("update signing_keys set state = 'retired' where alg = 'ES256'");
    await database.owner.query("update signing_keys set alg = 'ES256' where kid = $1", [kid]);
    await keys.ring.refresh();
    expect(brokenKids(keys)).toEqual([kid]);
    expect(keys.ring.signer('ES256')).toBeUndefined();
  });

  it('that cannot be decrypted makes the run that activates it and every later run fail, but commits their changes', async () => {
    const prepared = kidOf(await keys.list(), 'ES256', 'prepared');
    await database.owner.query("update signing_keys set private_sealed = '\\x00' where kid = $1", [prepared]);
    clock.advance(24 * 3600);
    for (let run = 0; run < 2; run += 1) {
      await expect(keys.rotateDue(noFence)).rejects.toThrow(`signing key ${prepared} is not usable`);
      expect(kidOf(await keys.list(), 'ES256', 'active')).toBe(prepared);
      expect(keys.ring.signer('ES256')).toBeUndefined();
    }
    expect(await keys.status()).toEqual({ canSign: true, broken: [prepared] });
  });

  it('that cannot be decrypted does not prevent the start', async () => {
    const active = kidOf(await keys.list(), 'ES256', 'active');
    await database.owner.query("update signing_keys set private_sealed = '\\x00' where kid = $1", [active]);
    const { replica, reports } = reporting();
    await replica.start();
    expect(reports).toHaveLength(1);
    expect(replica.ring.signer('EdDSA')).toBeDefined();
  });
});

describe('a public key that cannot be read', () => {
  it('is reported, and affects neither the JWKS nor other keys', async () => {
    const listed = await keys.list();
    const prepared = kidOf(listed, 'RS256', 'prepared');
    await database.owner.query("update signing_keys set public_jwk = '{}' where kid = $1", [prepared]);
    await keys.ring.refresh();
    expect(brokenKids(keys)).toEqual([prepared]);
    for (const alg of signingAlgs) expect(keys.ring.signer(alg)).toBeDefined();
    const published = (await keys.jwks()).keys.map(({ kid }) => kid);
    expect(published.sort()).toEqual(
      listed
        .map(({ kid }) => kid)
        .filter((kid) => kid !== prepared)
        .sort(),
    );
    await expect(keys.rotateDue(noFence)).rejects.toThrow(`signing key ${prepared} is not usable`);
  });
});
