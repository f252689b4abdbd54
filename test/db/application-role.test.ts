import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { excessPowers } from '../../src/db/application-role.ts';
import { openDatabase } from '../../src/db/database.ts';
import { createLog } from '../../src/platform/log.ts';
import { startBroker } from '../support/broker.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

async function powersOf(url: string): Promise<string[]> {
  const login = openDatabase({ url, log: createLog('silent'), maxConnections: 1, applicationName: 'test' });
  try {
    return await excessPowers(login.db);
  } finally {
    await login.close();
  }
}

describe('the application login', () => {
  it('has no excess privilege', async () => {
    expect(await powersOf(database.url)).toEqual([]);
  });

  it('is distinguished from the owner, as which a broker refuses to start', async () => {
    expect(await powersOf(database.ownerUrl)).toEqual(
      expect.arrayContaining(['may delete audit_events', 'owns the table audit_events']),
    );
    await expect(startBroker({ database: { ...database, url: database.ownerUrl } })).rejects.toMatchObject({
      detail: expect.stringContaining('DATABASE_URL must not log in as the owner'),
    });
  });

  it('is reported when it is granted more later', async () => {
    const role = new URL(database.url).username;
    await database.owner.query(`grant update on audit_events to ${role}`);
    expect(await powersOf(database.url)).toEqual(['may update audit_events']);
    await database.owner.query(`revoke update on audit_events from ${role}`);
  });

  it.each([
    ['a column of the audit log', 'update (details) on audit_events', 'may update audit_events'],
    ['one partition of the audit log', 'delete on audit_events_202603', 'may delete audit_events'],
    ['triggers on the audit log', 'trigger on audit_events', 'may trigger audit_events'],
  ])('is reported when it may change %s', async (_, privilege, power) => {
    const role = new URL(database.url).username;
    await database.owner.query(`grant ${privilege} to ${role}`);
    expect(await powersOf(database.url)).toEqual([power]);
    await database.owner.query(`revoke ${privilege} from ${role}`);
  });

  it('is reported when it, or every role, may create in the schema public', async () => {
    const role = new URL(database.url).username;
    for (const whom of [role, 'public']) {
      await database.owner.query(`grant create on schema public to ${whom}`);
      expect(await powersOf(database.url)).toEqual([
        'may create in the schema public (its owner must revoke create on schema public from public)',
      ]);
      await database.owner.query(`revoke create on schema public from ${whom}`);
    }
  });

  it.each([
    'update audit_events set type = type',
    'delete from audit_events',
    'truncate audit_events',
    'drop table grants',
  ])('cannot: %s', async (statement) => {
    await expect(database.pool.query(statement)).rejects.toMatchObject({ code: '42501' });
  });
});

describe('a login that is a member of other roles', () => {
  const server = inject('server');
  const suffix = randomBytes(4).toString('hex');
  const [login, middle] = [`hallpass_member_${suffix}`, `hallpass_middle_${suffix}`];
  let admin: pg.Client;
  let url: string;

  beforeAll(async () => {
    admin = new pg.Client({ connectionString: server.adminUrl });
    await admin.connect();
    // The privileges of the application role, with a NOINHERIT member between the login and the roles that are
    // granted below.
    await admin.query(`create role ${login} login noinherit password '${server.password}'`);
    await admin.query(`create role ${middle} noinherit`);
    await admin.query(`grant ${server.applicationRole}, ${middle} to ${login}`);
    url = Object.assign(new URL(database.url), { username: login }).href;
    return async () => {
      await admin.query(`drop role ${login}`);
      await admin.query(`drop role ${middle}`);
      await admin.end();
    };
  });

  it('of the application role alone has no excess privilege', async () => {
    expect(await powersOf(url)).toEqual([]);
  });

  it.each([
    [
      'pg_write_all_data',
      ['is a member of pg_write_all_data', 'may delete audit_events as pg_write_all_data'],
    ],
    ['pg_execute_server_program', ['is a member of pg_execute_server_program']],
    ['pg_write_server_files', ['is a member of pg_write_server_files']],
  ])('is reported as a member of %s, even with NOINHERIT', async (role, powers) => {
    await admin.query(`grant ${role} to ${middle}`);
    expect(await powersOf(url)).toEqual(expect.arrayContaining(powers));
    await admin.query(`revoke ${role} from ${middle}`);
    expect(await powersOf(url)).toEqual([]);
  });

  it('is reported as a member of the owner, even with NOINHERIT', async () => {
    await admin.query(`grant ${server.ownerRole} to ${middle}`);
    const powers = [
      `may truncate audit_events as ${server.ownerRole}`,
      `owns functions of the broker as ${server.ownerRole}`,
      `owns the database as ${server.ownerRole}`,
      `owns the table audit_events as ${server.ownerRole}`,
    ];
    expect(await powersOf(url)).toEqual(expect.arrayContaining(powers));
    await admin.query(`revoke ${server.ownerRole} from ${middle}`);
  });

  it.each([
    ['superuser', 'is a superuser'],
    ['createrole', 'may create roles'],
    ['bypassrls', 'bypasses row security'],
  ])('is reported if one of them is %s', async (attribute, power) => {
    await admin.query(`alter role ${middle} ${attribute}`);
    expect(await powersOf(url)).toContain(`${power} as ${middle}`);
    await admin.query(`alter role ${middle} no${attribute}`);
  });

  it('is judged by the role that logs in, not by its setting for role', async () => {
    await admin.query(`alter role ${login} createrole`);
    await admin.query(`alter role ${login} set role = ${server.applicationRole}`);
    expect(await powersOf(url)).toEqual(['may create roles']);
    await admin.query(`alter role ${login} nocreaterole`);
    await admin.query(`alter role ${login} reset role`);
  });
});
