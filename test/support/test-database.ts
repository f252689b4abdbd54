import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { createLog } from '../../src/platform/log.ts';
import { atEnd } from './at-end.ts';
import type { Templates } from './templates.ts';

export interface TestDatabase extends Database {
  /** The URL of the application role, for the broker under test. */
  url: string;
  /** A connection of the owner, for statements that only tests need (break a table, edit history). */
  owner: pg.Client;
  ownerUrl: string;
}

let admin: Promise<pg.Client> | undefined;

/** Opens one connection of the superuser for all files of this process, because a new one takes longer than most tests. */
async function runAsAdmin(adminUrl: string, statement: string): Promise<void> {
  admin ??= connect(adminUrl);
  await (await admin).query(statement);
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  return client;
}

const objectInUse = '55006';
const copyAttempts = 4;

/** Copies a template. Autovacuum of an external server may use it: each attempt waits 5 s and asks it to stop. */
async function copyTemplate(adminUrl: string, statement: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await runAsAdmin(adminUrl, statement);
    } catch (error) {
      const isInUse = error instanceof pg.DatabaseError && error.code === objectInUse;
      if (!isInUse || attempt === copyAttempts) throw error;
    }
  }
}

/**
 * Creates a database for this test file as a copy of a template; dropped when the file ends.
 *
 * @param template `empty`: migrated, without a row; `started`: as the first start of a test broker left it.
 */
export async function createTestDatabase(template: keyof Templates = 'empty'): Promise<TestDatabase> {
  const server = inject('server');
  const name = `hallpass_test_${randomBytes(6).toString('hex')}`;
  await copyTemplate(
    server.adminUrl,
    `create database ${name} template ${server.templates[template]} owner ${server.ownerRole} ${server.copyClause}`,
  );
  const urlOf = (role: string): string => {
    const url = new URL(server.adminUrl);
    url.username = role;
    url.password = server.password;
    url.pathname = `/${name}`;
    return url.href;
  };
  const url = urlOf(server.applicationRole);
  const database = openDatabase({
    url,
    log: createLog('warn'),
    maxConnections: 12,
    applicationName: 'hallpass-test',
  });
  const owner = await connect(urlOf(server.ownerRole));
  atEnd(async () => {
    await database.close();
    await owner.end();
    await runAsAdmin(server.adminUrl, `drop database if exists ${name} with (force)`);
  });
  return { ...database, url, owner, ownerUrl: urlOf(server.ownerRole) };
}
