import { beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/platform/clock.ts';
import { type Api, apiOf, asBootstrap, startBroker, type TestBroker } from '../support/broker.ts';
import { parallel } from '../support/count.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** Public documents cost the database next to nothing at any request rate, and are never more than a second old. */
const clock = new FakeClock();
let replicas: [TestBroker, TestBroker];
beforeAll(async () => {
  const first = await startBroker({ clock });
  replicas = [first, await startBroker({ clock, database: first.database })];
});

const anyone = (broker: TestBroker): Api => apiOf(broker, undefined);

/** Runs `call` while keys cannot be read. */
async function withoutKeys(broker: TestBroker, call: () => Promise<unknown>): Promise<void> {
  await broker.database.owner.query('alter table signing_keys rename to elsewhere');
  try {
    await call();
  } finally {
    await broker.database.owner.query('alter table elsewhere rename to signing_keys');
  }
}

async function kidsOf(broker: TestBroker): Promise<string[]> {
  const { body } = await anyone(broker).get('/oauth2/jwks').expect(200);
  return body.keys.map(({ kid }: { kid: string }) => kid);
}

describe('the JWKS', () => {
  it('is read at most once a second, for any number of concurrent or successive requests', async () => {
    const [broker] = replicas;
    const before = await kidsOf(broker);
    expect(before).toHaveLength(6);
    await withoutKeys(broker, async () => {
      clock.advance(0.999);
      expect(await parallel(20, () => kidsOf(broker))).toEqual(Array.from({ length: 20 }, () => before));
    });
  });

  it('omits a compromised key at once on the replica that revoked it, and within a second on all others', async () => {
    const [first, second] = replicas;
    clock.advance(600);
    const [leaked = ''] = await kidsOf(first);
    expect(await kidsOf(second)).toContain(leaked);
    const request = { key_id: leaked, compromised: true, reason: 'leaked' };
    await asBootstrap(first).post('/v1/keys/rotate', request).expect(200);
    expect(await kidsOf(first)).not.toContain(leaked);
    clock.advance(1);
    expect(await kidsOf(second)).not.toContain(leaked);
  });

  it('that cannot be read responds with an OAuth error, and is available again a second later', async () => {
    const [broker] = replicas;
    clock.advance(1);
    await withoutKeys(broker, async () => {
      const answer = await anyone(broker).get('/oauth2/jwks').expect(500);
      expect(answer.body).toEqual({ error: 'server_error', error_description: expect.any(String) });
      expect(answer.headers['cache-control']).toBe('no-store');
    });
    clock.advance(1);
    await anyone(broker).get('/oauth2/jwks').expect(200);
  });
});

describe('readiness', () => {
  it('is checked at most once a second, but reports a shutdown at once', async () => {
    const broker = await startBroker({ clock: systemClock });
    await anyone(broker).get('/readyz').expect(200);
    await withoutKeys(broker, async () => {
      await anyone(broker).get('/readyz').expect(200);
      await eventually(() => anyone(broker).get('/readyz').expect(503));
    });
    await eventually(() => anyone(broker).get('/readyz').expect(200));
    await broker.beginShutdown();
    const { body } = await anyone(broker).get('/readyz').expect(503);
    expect(body).toEqual({ status: 'not ready', checks: { process: 'stopping' } });
  });
});
