import mysql from 'mysql2/promise';
import type { TargetConnection } from '../../../src/engines/engine.ts';
import { mysql as engine } from '../../../src/engines/mysql/engine.ts';
import { atEnd } from '../../support/at-end.ts';
import { type ContractSubject, createAccounts, newPassword, openTarget } from '../contract.ts';
import { targetOptions } from '../target-options.ts';
import { type MariadbServer, runOn } from './mariadb-server.ts';

/** A MariaDB server with an admin account, mapped roles and a database for one test file. */
export interface MariadbSubject extends ContractSubject {
  server: MariadbServer;
  /** The roles of its mappings: `reader` reads the table `app.orders`, `owner` may do everything in the schema but make events. */
  reader: string;
  owner: string;
  /** Runs statements as the superuser. Returns the rows if it is only one. */
  asRoot<Row>(statement: string): Promise<Row[]>;
}

export const quote = (name: string): string => mysql.escapeId(name, true);

/** Names with characters that must be quoted. */
const reader = "re`ader'; drop table app.orders; -- \\";
const owner = 'Owner "of" app';

/** The statements of docs/engines-mysql.md that make the admin account. */
export const adminStatements = (account: string, password: string, roles: readonly string[]): string =>
  `create user ${account} identified by '${password}';
   grant create user, process, connection admin on *.* to ${account};
   grant select on mysql.* to ${account};
   ${roles.map((role) => `grant ${quote(role)} to ${account} with admin option;`).join('\n')}`;

/** Prepares a server for leases. */
export async function prepareMariadb(server: MariadbServer): Promise<MariadbSubject> {
  const asRoot = <Row>(statement: string): Promise<Row[]> => runOn<Row>(server.socketPath, statement);
  const password = newPassword();
  await asRoot(
    `create database app; create table app.orders (id int primary key); insert into app.orders values (42);
     create role ${quote(reader)}; grant select on app.* to ${quote(reader)};
     create role ${quote(owner)}; grant all on app.* to ${quote(owner)}; revoke event on app.* from ${quote(owner)};
     ${adminStatements("'hall pass'@'%'", password, [reader, owner])}`,
  );
  return {
    engine,
    options: targetOptions(`mysql://hall%20pass:${password}@127.0.0.1:${server.port}/app`),
    mappings: [{ roles: [reader] }, { roles: [owner] }],
    missing: { roles: ['no`such\'role"'] },
    server,
    reader,
    owner,
    asRoot,
  };
}

/** Opens the target of a subject, with what tests need of it. */
export function useSubject(subject: MariadbSubject, change: Partial<TargetConnection> = {}) {
  const target = openTarget(subject.engine, subject.options, change);
  return { target, accounts: createAccounts(subject, target) };
}

/** Connects as an account, as an agent would; the connection is closed when the test file ends. */
export async function connectAs(
  { server }: Pick<MariadbSubject, 'server'>,
  { name, password }: { name: string; password: string },
  options: mysql.ConnectionOptions = {},
): Promise<mysql.Connection> {
  const client = await mysql.createConnection({
    host: '127.0.0.1',
    port: server.port,
    user: name,
    password,
    ...options,
  });
  client.on('error', () => {});
  atEnd(async () => client.destroy());
  return client;
}

/** Connects as the superuser, for connections that have to stay open. */
export async function connectAsRoot({ server }: Pick<MariadbSubject, 'server'>): Promise<mysql.Connection> {
  const client = await mysql.createConnection({ socketPath: server.socketPath, user: 'root' });
  client.on('error', () => {});
  atEnd(async () => client.destroy());
  return client;
}

/** Runs a statement and returns its rows. */
export async function rowsOf<Row>(client: mysql.Connection, statement: string): Promise<Row[]> {
  const [rows] = await client.query(statement);
  return rows as Row[];
}
