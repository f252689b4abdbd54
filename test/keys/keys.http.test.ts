import { createLocalJWKSet } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Api, apiOf, asBootstrap, startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

let broker: TestBroker;
let admin: Api;
const clock = new FakeClock();

beforeAll(async () => {
  broker = await startBroker({ clock });
  admin = asBootstrap(broker);
});

interface Listed {
  id: string;
  alg: string;
  status: string;
}

const unknownKey = 'key_01kjdw0a5vf8h8v0m6gq3r9x2c';
const publishedKids = async (): Promise<string[]> => {
  const { body } = await apiOf(broker, undefined).get('/oauth2/jwks').expect(200);
  return body.keys.map(({ kid }: { kid: string }) => kid);
};

describe('the JWKS', () => {
  it('is public, may be cached for 300 s, and can be read by jose', async () => {
    const { body, headers } = await apiOf(broker, undefined).get('/oauth2/jwks').expect(200);
    expect(headers['cache-control']).toBe('public, max-age=300');
    expect(body.keys).toHaveLength(6);
    const set = createLocalJWKSet(body);
    for (const { kid, alg } of body.keys) await expect(set({ kid, alg })).resolves.toBeDefined();
  });
});

describe('signing keys', () => {
  it('are listed with their states, without key material', async () => {
    const { body } = await admin.get('/v1/keys').expect(200);
    const items: Listed[] = body.items;
    expect(items.map(({ alg, status }) => `${alg} ${status}`).sort()).toEqual(
      ['ES256', 'EdDSA', 'RS256'].flatMap((alg) => [`${alg} active`, `${alg} prepared`]),
    );
    expect(JSON.stringify(body)).not.toMatch(/jwk|private|sealed/);
  });

  it('cannot be rotated before the next key was published long enough: 503 with the seconds to wait', async () => {
    const early = await admin.post('/v1/keys/rotate', { reason: 'quarterly' }).expect(503);
    expect(early.body.code).toBe('no-published-key');
    clock.advance(Number(early.headers['retry-after']));
    const { body } = await admin.post('/v1/keys/rotate', { reason: 'quarterly' }).expect(200);
    const items: Listed[] = body.items;
    expect(items.map(({ alg, status }) => `${alg} ${status}`).sort()).toEqual([
      'ES256 active',
      'ES256 prepared',
      'ES256 retiring',
    ]);
  });

  it('leave the JWKS at once if they are compromised; 503 if a second key in a row would sign before it was published long enough', async () => {
    const leak = { alg: 'EdDSA', compromised: true, reason: 'leaked' };
    const before: Listed[] = (await admin.get('/v1/keys').expect(200)).body.items;
    const leaked = before.find(({ alg, status }) => alg === 'EdDSA' && status === 'active')?.id ?? '';
    expect(await publishedKids()).toContain(leaked);
    const { body } = await admin.post('/v1/keys/rotate', { ...leak, key_id: leaked }).expect(200);
    expect(body.items.find(({ id }: Listed) => id === leaked)).toMatchObject({ status: 'compromised' });
    expect(await publishedKids()).not.toContain(leaked);
    const again = await admin.post('/v1/keys/rotate', { ...leak, key_id: leaked }).expect(409);
    expect(again.body.code).toBe('key-not-rotatable');
    await admin.post('/v1/keys/rotate', leak).expect(200);
    const twice = await admin.post('/v1/keys/rotate', leak).expect(503);
    expect([twice.body.code, twice.headers['retry-after']]).toEqual(['no-published-key', '360']);
  });

  it('cannot be rotated if they are unknown: 404', async () => {
    await admin.post('/v1/keys/rotate', { key_id: unknownKey, reason: 'quarterly' }).expect(404);
  });
});
