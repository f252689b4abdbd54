import { beforeAll, describe, expect, it } from 'vitest';
import { checkReadiness } from '../../src/operation/readiness.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { apiOf, startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker({ clock: systemClock });
});

const check = (changes: Partial<Parameters<typeof checkReadiness>[0]> = {}) =>
  checkReadiness({
    db: broker.database.db,
    clock: systemClock,
    readKeys: async () => ({ canSign: true, broken: [] }),
    isStopping: () => false,
    ...changes,
  });

describe('a replica', () => {
  it('is ready if database, migrations, keys and clock are as they must be', async () => {
    const anyone = apiOf(broker, undefined);
    expect((await anyone.get('/healthz').expect(200)).body).toEqual({ status: 'ok' });
    const ready = await anyone.get('/readyz').expect(200);
    expect(ready.body).toEqual({
      status: 'ready',
      checks: { database: 'ok', clock: 'ok', migrations: 'ok', keys: 'ok' },
    });
  });

  it('is not ready without an active key', async () => {
    const none = { canSign: false, broken: ['key_1'] };
    expect(await check({ readKeys: async () => none })).toMatchObject({ ready: false });
  });

  it('names a key that cannot be used, and is ready if another algorithm can sign', async () => {
    const broken = ['key_1', 'key_2'];
    expect(await check({ readKeys: async () => ({ canSign: true, broken }) })).toEqual({
      ready: true,
      checks: { database: 'ok', clock: 'ok', migrations: 'ok', keys: 'ok', unusable_keys: 'key_1 key_2' },
    });
  });

  it('is not ready if its clock differs from the database by two seconds', async () => {
    const ahead = (ms: number) => new FakeClock(new Date(systemClock.now().getTime() + ms).toISOString());
    expect(await check({ clock: ahead(3000) })).toMatchObject({ ready: false, checks: { keys: 'ok' } });
    expect(await check({ clock: ahead(-3000) })).toMatchObject({ ready: false });
    expect(await check({ clock: ahead(500) })).toMatchObject({ ready: true });
  });

  it('is not ready if a migration is missing, and names the failed check', async () => {
    await broker.database.owner.query(`update migrations set name = 'x' where name = '0002_guards'`);
    expect(await check()).toMatchObject({ ready: false, checks: { migrations: 'missing' } });
    await broker.database.owner.query(`update migrations set name = '0002_guards' where name = 'x'`);
  });

  it('is not ready while the process is shutting down', async () => {
    expect(await check({ isStopping: () => true })).toEqual({
      ready: false,
      checks: { process: 'stopping' },
    });
  });
});
