import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { TargetConnection } from '../../../src/engines/engine.ts';
import { postgres } from '../../../src/engines/postgres/engine.ts';
import { atEnd } from '../../support/at-end.ts';
import { type ContractSubject, createAccounts, newPassword, openTarget } from '../contract.ts';
import { targetOptions } from '../target-options.ts';

/** A PostgreSQL server with an admin account, mapped roles and databases for one test file. */
export interface PostgresSubject extends ContractSubject {
  major: number;
  adminUrl: string;
  /** The roles of its mappings: `reader` reads the table `s.orders`, `owner` owns it and may make objects in the schema. */
  reader: string;
  owner: string;
  /** A second database that is the same. */
  otherDatabase: string;
  /** Runs statements as the superuser, in the first database unless another is named. */
  asSuperuser<Row extends pg.QueryResultRow>(text: string, database?: string): Promise<Row[]>;
}

const quote = pg.escapeIdentifier;

/**
 * Prepares a server for leases as docs/engines.md says: an admin account with CREATEROLE, which since PostgreSQL 16 has ADMIN
 * OPTION on the mapped roles. Their names have characters that must be quoted. Everything is dropped when the test file ends.
 */
export async function preparePostgres(adminUrl: string): Promise<PostgresSubject> {
  const suffix = randomBytes(4).toString('hex');
  const names = {
    admin: `admin_${suffix}`,
    reader: `re"ader'; drop table s.orders; --${suffix}`,
    owner: `Owner ${suffix}`,
    database: `target_${suffix}`,
    otherDatabase: `Other "target" ${suffix}`,
  };
  const password = newPassword();
  const asSuperuser: PostgresSubject['asSuperuser'] = (text, database = names.database) =>
    runAs(adminUrl, database, text);
  const [version] = await runAs<{ major: number }>(
    adminUrl,
    undefined,
    `select current_setting('server_version_num')::int / 10000 as major`,
  );
  const major = version?.major ?? 0;
  const roles = [names.reader, names.owner].map(quote).join(', ');
  await runAs(
    adminUrl,
    undefined,
    `create role ${quote(names.reader)}; create role ${quote(names.owner)};
     create role ${names.admin} login createrole password '${password}';
     ${major >= 16 ? `grant ${roles} to ${names.admin} with admin true, inherit false, set false` : ''}`,
  );
  for (const database of [names.database, names.otherDatabase]) {
    await runAs(adminUrl, undefined, `create database ${quote(database)}`);
    await asSuperuser(
      `create schema s;
       create table s.orders as select 42 as id;
       alter table s.orders owner to ${quote(names.owner)};
       grant usage on schema s to ${roles};
       grant create on schema s to ${quote(names.owner)};
       grant select on s.orders to ${quote(names.reader)}`,
      database,
    );
  }
  atEnd(() => dropAll(adminUrl, names));
  const url = new URL(adminUrl);
  Object.assign(url, { username: names.admin, password, pathname: `/${names.database}` });
  return {
    engine: postgres,
    options: targetOptions(url.href),
    mappings: [{ roles: [names.reader] }, { roles: [names.owner] }],
    missing: { roles: [`none_${suffix}`] },
    major,
    adminUrl,
    reader: names.reader,
    owner: names.owner,
    otherDatabase: names.otherDatabase,
    asSuperuser,
  };
}

/** Opens the target of a subject, with what tests need of it. */
export function useSubject(subject: PostgresSubject, change: Partial<TargetConnection> = {}) {
  const target = openTarget(subject.engine, subject.options, change);
  return { target, accounts: createAccounts(subject, target) };
}

/** Connects as an account, as an agent would; the connection is closed when the test file ends. */
export async function connectAs(
  { options }: Pick<PostgresSubject, 'options'>,
  { name, password }: { name: string; password: string },
  config: pg.ClientConfig = {},
): Promise<pg.Client> {
  const { host, port, database } = options.connection;
  const client = new pg.Client({ host, port, database, user: name, password, ssl: false, ...config });
  client.on('error', () => {});
  await client.connect();
  atEnd(async () => void client.end().catch(() => {}));
  return client;
}

async function runAs<Row extends pg.QueryResultRow>(
  adminUrl: string,
  database: string | undefined,
  text: string,
): Promise<Row[]> {
  const url = new URL(adminUrl);
  if (database !== undefined) url.pathname = `/${encodeURIComponent(database)}`;
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}

async function dropAll(adminUrl: string, names: Record<string, string>): Promise<void> {
  const { database = '', otherDatabase = '', admin = '', reader = '', owner = '' } = names;
  for (const name of [database, otherDatabase]) {
    await runAs(adminUrl, undefined, `drop database if exists ${quote(name)} with (force)`);
  }
  // Accounts of a broker that was ended before it had removed them: the admin account has granted them their roles.
  const left = await runAs<{ name: string }>(
    adminUrl,
    undefined,
    `select r.rolname as name from pg_roles r
      where r.rolname ~ '^hp_[0-9a-f]{12}_' or exists (
        select from pg_auth_members m join pg_roles a on a.oid in (m.grantor, m.member)
         where m.member <> m.roleid and r.oid in (m.member, m.roleid) and a.rolname = '${admin}' and r.rolname ~ '^hp_')`,
  );
  for (const { name } of left) await runAs(adminUrl, undefined, `drop role ${quote(name)}`).catch(() => {});
  for (const name of [admin, reader, owner]) await runAs(adminUrl, undefined, `drop role ${quote(name)}`);
}
