import { beforeAll, describe, expect, it } from 'vitest';
import { type OwnServer, startOwnServer } from '../../cluster/own-server.ts';
import {
  clusterEnv,
  generateBootstrapKey,
  type Replica,
  type ReplicaEnv,
  startReplica,
} from '../../cluster/replica.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { type Answer, call, createStory, expecting, type Story } from '../../e2e/support/client.ts';
import { cli } from '../../e2e/support/production.ts';
import { scrape } from '../../operation/scrape.ts';
import { eventually } from '../../support/eventually.ts';
import { freePort } from '../../support/free-port.ts';
import { query } from './support/databases.ts';

/**
 * Tests every reason for a built broker not to be ready, except the shutdown, which test/slow/process/process.test.ts
 * tests.
 */
const bearer = generateBootstrapKey();
let server: OwnServer;
let env: ReplicaEnv;
let replica: Replica;
let metricsPort: number;
let story: Story;

beforeAll(async () => {
  await ensureBuilt();
  server = await startOwnServer();
  metricsPort = await freePort();
  // Without jobs, which would repair within a minute what a test breaks.
  env = { ...clusterEnv(server.applicationUrl, bearer), HALLPASS_ROLE: 'api' };
  replica = await startReplica({ ...env, HALLPASS_METRICS_PORT: String(metricsPort) });
  story = await createStory(replica.url, bearer);
});

interface Key {
  alg: string;
  status: string;
}

const fine = { database: 'ok', clock: 'ok', migrations: 'ok', keys: 'ok' };
const readiness = (): Promise<Answer> => call(`${replica.url}/readyz`);
const mint = (): Promise<Answer> => {
  const form = { grant_type: 'client_credentials', resource: story.resource, scope: 'read' };
  return call(`${replica.url}/oauth2/token`, { basic: story.client, form });
};
/** Waits until the readiness check responds with this status and these checks. The response is cached for a second. */
const becomes = (status: number, checks: object): Promise<void> =>
  eventually(async () => {
    const answer = await readiness();
    expect([answer.status, answer.body.checks]).toEqual([status, checks]);
  });
const owner = (text: string, values: unknown[] = []) => query(server.ownerUrl, text, values);

describe('a replica', () => {
  it('is ready, and issues tokens', async () => {
    await becomes(200, fine);
    await expecting(200, mint());
  });

  it('runs but is not ready while the database is unreachable, still serves metrics, and recovers automatically', async () => {
    await server.stop();
    await becomes(503, { database: 'unreachable' });
    await expecting(200, call(`${replica.url}/healthz`));
    expect((await expecting(503, mint())).headers['retry-after']).toBe('1');
    const away = await scrape(metricsPort);
    expect(away.get('hallpass_database_up')).toBe(0);
    for (const name of [
      'hallpass_sweep_lag_seconds',
      'hallpass_ending_lag_seconds',
      'hallpass_grants{status="active"}',
    ])
      expect(away.has(name), name).toBe(false);
    expect(away.get('hallpass_http_requests_total{operation="issueToken",status="503"}')).toBe(1);
    await server.start();
    await becomes(200, fine);
    await expecting(200, mint());
    const back = await scrape(metricsPort);
    expect(back.get('hallpass_database_up')).toBe(1);
    expect(back.get('hallpass_grants{status="active"}')).toBe(1);
  });

  it('is not ready while the database lacks a migration, and no other replica starts', async () => {
    await owner(`update migrations set name = 'away' where name = '0002_guards'`);
    await becomes(503, { ...fine, migrations: 'missing' });
    await expect(startReplica(env)).rejects.toThrow(
      'hallpass: the database lacks 0002_guards: run npm run migrate\n',
    );
    await owner(`update migrations set name = '0002_guards' where name = 'away'`);
    await becomes(200, fine);
  });

  it('is ready, issues tokens and starts on a database with newer migrations: migrate first, then replace the replicas', async () => {
    await owner('alter table agents add column of_the_next_version text');
    await owner(`insert into migrations (name, timestamp) values ('9999_of_the_next_version', now()::text)`);
    await becomes(200, fine);
    await expecting(200, mint());
    const other = await startReplica(env);
    await expecting(200, call(`${other.url}/readyz`));
    await createStory(other.url, bearer);
    expect(await other.drain()).toBe(0);
    // Only the migration step of an older version fails: it says so and changes nothing.
    const { code, stderr } = await cli({ ...env, DATABASE_OWNER_URL: server.ownerUrl }, 'migrate');
    expect([code, stderr.split('\n').length]).toEqual([1, 2]);
    expect(stderr).toContain('9999_of_the_next_version');
  });

  it('is not ready without a key that can sign, after all prepared and active keys were compromised', async () => {
    const compromise = async (alg: string): Promise<Answer> => {
      const { body } = await expecting(200, call(`${replica.url}/v1/keys`, { bearer }));
      const active = body.items.find((key: Key) => key.alg === alg && key.status === 'active');
      const json = { key_id: active.id, compromised: true, reason: 'all of them leaked' };
      return call(`${replica.url}/v1/keys/rotate`, { bearer, json });
    };
    for (const alg of ['ES256', 'RS256', 'EdDSA']) {
      await expecting(200, compromise(alg));
      expect((await readiness()).status).toBe(200);
      const second = await expecting(503, compromise(alg));
      expect(Number(second.headers['retry-after'])).toBeGreaterThan(300);
    }
    await becomes(503, { ...fine, keys: 'no active signing key' });
    await expecting(503, mint());
  });
});

/** Starts a process whose clock is `ms` ahead of the machine. */
const clockAhead = (ms: number): ReplicaEnv => {
  const code = `const Real = Date;
    globalThis.Date = class extends Real {
      constructor(...given) { super(...(given.length > 0 ? given : [Real.now() + ${ms}])); }
      static now() { return Real.now() + ${ms}; }
    };`;
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}` };
};

describe('a replica whose clock', () => {
  it.each([
    ['is 3 s ahead of the database is not ready', 3_000, 'differs from the database clock'],
    ['is 3 s behind the database is not ready', -3_000, 'differs from the database clock'],
    ['is half a second ahead of the database is ready', 500, 'ok'],
  ])('%s', async (_what, ms, clock) => {
    const skewed = await startReplica({ ...env, ...clockAhead(ms) });
    const { body } = await call(`${skewed.url}/readyz`);
    expect(body.checks).toMatchObject({ database: 'ok', clock });
    expect(await skewed.drain()).toBe(0);
  });
});
