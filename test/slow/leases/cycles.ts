import { expect } from 'vitest';
import { engines } from '../../../src/engines/engines.ts';
import { startOwnServer } from '../../cluster/own-server.ts';
import { connectAs, type PostgresSubject, preparePostgres } from '../../engines/postgres/subject.ts';
import { permitAll } from '../../oauth/fixtures.ts';
import { type Api, asBootstrap, createAgent, createPolicy, startBroker } from '../../support/broker.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** The catalogues in which an account can leave rows: those of the whole server, and those of a database. */
const catalogues = [
  'pg_authid',
  'pg_auth_members',
  'pg_shdepend',
  'pg_db_role_setting',
  'pg_shdescription',
  'pg_shseclabel',
  'pg_default_acl',
  'pg_init_privs',
  'pg_policy',
  'pg_user_mapping',
  'pg_largeobject_metadata',
];

/** Returns the number of live rows of each catalogue, and the length of the access control lists in both databases. */
async function readCatalogues({ asSuperuser, otherDatabase }: PostgresSubject) {
  const counts = catalogues.map((name) => `(select count(*)::int from ${name}) as ${name}`).join(', ');
  const acls = `(select coalesce(sum(cardinality(relacl)), 0)::int from pg_class) as of_relations,
    (select coalesce(sum(cardinality(nspacl)), 0)::int from pg_namespace) as of_schemas,
    (select coalesce(sum(cardinality(datacl)), 0)::int from pg_database) as of_databases`;
  const [here] = await asSuperuser<Record<string, number>>(`select ${counts}, ${acls}`);
  const [there] = await asSuperuser<Record<string, number>>(`select ${counts}, ${acls}`, otherDatabase);
  return { here, there };
}

const leasesPerRound = 20;
const atOnce = 4;

/** Makes, uses and revokes leases, and waits until their accounts are gone. */
async function runRound(scene: { api: Api; admin: Api; endLeases: () => Promise<void> }, options: Round) {
  const { subject, grantId, count } = options;
  const made: { id: string }[] = [];
  const make = async (): Promise<void> => {
    while (made.length < count) {
      const place = made.push({ id: '' }) - 1;
      const { body } = await scene.api.post('/v1/leases', { grant_id: grantId }).expect(201);
      made[place] = body;
      const { username: name, password } = body.credential;
      const client = await connectAs(subject, { name, password });
      await client.query(
        "select id from s.orders; set role none; alter role session_user set work_mem = '1MB'",
      );
      await client.end();
    }
  };
  await Promise.all(Array.from({ length: atOnce }, make));
  const during = await readCatalogues(subject);
  for (const { id } of made) await scene.admin.post(`/v1/leases/${id}/revoke`, {}).expect(200);
  await scene.endLeases();
  return during;
}

interface Round {
  subject: PostgresSubject;
  grantId: string;
  count: number;
}

/** Runs `cycles` lives of a lease on a PostgreSQL server of its own. Asserts that they leave nothing in its catalogues. */
export async function expectNothingLeft(cycles: number): Promise<void> {
  const subject = await preparePostgres((await startOwnServer({ max_connections: '50' })).adminUrl);
  const broker = await startBroker({ clock: new FakeClock(), overrides: { engines } });
  await createPolicy(broker, permitAll);
  const agent = await createAgent(broker);
  const admin = asBootstrap(broker);
  const { host, port, database, username, password } = subject.options.connection;
  const identifier = 'postgres://target.internal/orders';
  const scopes = [{ name: 'read', description: 'Read orders', risk: 'low', roles: [subject.reader] }];
  const connection = { host, port, database, username, password, tls: { mode: 'off' } };
  const body = { identifier, name: 'Orders', kind: 'postgres', scopes, max_grant_seconds: 3600, connection };
  await admin.post('/v1/resources', body).expect(201);
  const api = await agent.api();
  const terms = { resource: identifier, scopes: ['read'], duration_seconds: 3600, reason: 'test' };
  const grantId = (await api.post('/v1/grants', terms).expect(201)).body.id;
  const before = await readCatalogues(subject);
  for (let ended = 0; ended < cycles; ended += leasesPerRound) {
    const count = Math.min(leasesPerRound, cycles - ended);
    const options = { subject, grantId, count };
    const during = await runRound({ api, admin, endLeases: broker.worker.endLeases }, options);
    // What is counted is what accounts have.
    for (const [name, perAccount] of [
      ['pg_authid', 1],
      ['pg_db_role_setting', 1],
    ] as const)
      expect((during.here?.[name] ?? 0) - (before.here?.[name] ?? 0)).toBe(count * perAccount);
    expect(await readCatalogues(subject)).toEqual(before);
  }
  const { rows } = await broker.database.owner.query(
    'select status, count(*)::int as n from leases group by 1',
  );
  expect(rows).toEqual([{ status: 'revoked', n: cycles }]);
}
