import pg from 'pg';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { engines } from '../../src/engines/engines.ts';
import { acceptsAnyPassword } from '../engines/postgres/accepts-any-password.ts';
import { type PostgresSubject, preparePostgres } from '../engines/postgres/subject.ts';
import { permitAll } from '../oauth/fixtures.ts';
import {
  asBootstrap,
  createAgent,
  createPolicy,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

const { adminUrl } = inject('server');
const isTrusting = await acceptsAnyPassword(adminUrl);

/** The real engine, whose target is a database on the server of the test suite. */
const clock = new FakeClock();
let broker: TestBroker;
let target: PostgresSubject;
let agent: TestAgent;
let body: Record<string, unknown>;

beforeAll(async () => {
  target = await preparePostgres(adminUrl);
  broker = await startBroker({ clock, overrides: { engines, allowOwnDatabase: true } });
  await createPolicy(broker, permitAll);
  agent = await createAgent(broker);
  const { host, port, database, username, password } = target.options.connection;
  body = {
    identifier: 'postgres://orders.example/orders',
    name: 'Orders',
    kind: 'postgres',
    scopes: [{ name: 'read', description: 'Read orders', risk: 'low', roles: [target.reader] }],
    max_grant_seconds: 3600,
    connection: { host, port, database, username, password, tls: { mode: 'off' } },
  };
});

interface Credential {
  username: string;
  password: string;
  host: string;
  port: number;
  database: string;
}

async function logIn({ username, ...rest }: Credential): Promise<pg.Client> {
  const client = new pg.Client({ user: username, ...rest });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** Requests a grant and a lease under it. */
async function lease(durationSeconds: number) {
  const api = await agent.api();
  const asked = {
    resource: body.identifier,
    scopes: ['read'],
    duration_seconds: durationSeconds,
    reason: 'report',
  };
  const { id: grantId } = (await api.post('/v1/grants', asked).expect(201)).body;
  return (await api.post('/v1/leases', { grant_id: grantId }).expect(201)).body;
}

const accountsOf = (name: string) =>
  target.asSuperuser<{ name: string }>(`select rolname as name from pg_roles where rolname = '${name}'`);

describe.skipIf(isTrusting)('a lease on PostgreSQL', () => {
  it('reads what its scope permits and nothing else, until it expires; then its session and its account are gone', async () => {
    await asBootstrap(broker).post('/v1/resources', body).expect(201);
    const { id, credential } = await lease(60);
    const session = await logIn(credential);
    expect((await session.query('select id from s.orders')).rows).toEqual([{ id: 42 }]);
    await expect(session.query('delete from s.orders')).rejects.toMatchObject({ code: '42501' });
    clock.advance(60);
    await broker.worker.endLeases();
    await expect(session.query('select id from s.orders')).rejects.toThrow();
    await expect(logIn(credential)).rejects.toMatchObject({ code: '28P01' });
    expect(await accountsOf(credential.username)).toEqual([]);
    const { body: ended } = await asBootstrap(broker).get(`/v1/leases/${id}`).expect(200);
    expect(ended).toMatchObject({ status: 'revoked', owned_objects: [], last_error: null });
    expect(ended.cleaned_up_at).not.toBeNull();
  });

  it('is not possible in a target whose admin account lacks a privilege: the answer has the statement', async () => {
    const role = 'no such role';
    const scopes = [{ name: 'read', description: 'Read orders', risk: 'low', roles: [role] }];
    const refused = await asBootstrap(broker)
      .post('/v1/resources', { ...body, identifier: 'postgres://other.example/orders', scopes })
      .expect(422);
    expect(refused.body.problems[0].problem).toContain(role);
  });

  it('is not possible in the database server of the broker itself', async () => {
    const strict = await startBroker({ clock, database: broker.database, overrides: { engines } });
    const refused = await asBootstrap(strict)
      .post('/v1/resources', { ...body, identifier: 'postgres://own.example/orders' })
      .expect(422);
    expect(refused.body.problems[0].problem).toContain("the broker's own database");
  });
});
