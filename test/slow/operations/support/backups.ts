import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startOwnServer } from '../../../cluster/own-server.ts';
import type { Production } from '../../../e2e/support/production.ts';
import { atEnd } from '../../../support/at-end.ts';
import { eventually } from '../../../support/eventually.ts';
import { asSuperuser, dropAtEnd, inDatabase, nameOf, newName, query } from './databases.ts';
import { runProgram } from './dump.ts';

export interface Restored {
  databaseUrl: string;
  ownerUrl: string;
}

/** A copy of a database at one point in time. */
export interface Backup {
  /** Restores into a separate database; the copied one is not changed. */
  restore(): Promise<Restored>;
}

export type TakeBackup = (production: Production) => Promise<Backup>;

/**
 * Copies a database within the server. It needs no program, but for a moment no connections: brokers reconnect by
 * themselves.
 */
export const copyDatabase: TakeBackup = async ({ databaseUrl, ownerUrl }) => {
  const [source, copy] = [nameOf(ownerUrl), newName()];
  const [owner, application] = [ownerUrl, databaseUrl].map((url) => new URL(url).username);
  dropAtEnd(copy);
  await asSuperuser(`alter database ${source} allow_connections false`);
  await eventually(async () => {
    await asSuperuser(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${source}'`);
    await asSuperuser(`create database ${copy} template ${source} owner ${owner}`);
  });
  await asSuperuser(`alter database ${source} allow_connections true`);
  await asSuperuser(`revoke all on database ${copy} from public`);
  await asSuperuser(`grant connect on database ${copy} to ${application}`);
  return {
    restore: async () => ({
      databaseUrl: inDatabase(databaseUrl, copy),
      ownerUrl: inDatabase(ownerUrl, copy),
    }),
  };
};

/**
 * Dumps a running broker's database and restores it into another server, whose transaction numbers start again
 * (docs/operations.md).
 */
export const dumpDatabase: TakeBackup = async ({ databaseUrl, ownerUrl }) => {
  const directory = await mkdtemp(join(tmpdir(), 'hallpass-dump-'));
  atEnd(() => rm(directory, { recursive: true, force: true }));
  const file = join(directory, 'hallpass.dump');
  await runProgram('pg_dump', ['--format=custom', `--file=${file}`, ownerUrl]);
  return {
    async restore() {
      const server = await startOwnServer();
      const [name, { host }] = [newName(), new URL(server.adminUrl)];
      const logins = [ownerUrl, databaseUrl].map((url) => new URL(url));
      for (const { username, password } of logins) {
        await query(server.adminUrl, `create role ${username} login password '${password}'`);
      }
      const [owner, application] = logins.map(({ username }) => username);
      await query(server.adminUrl, `create database ${name} owner ${owner}`);
      await query(server.adminUrl, `revoke all on database ${name} from public`);
      await query(server.adminUrl, `grant connect on database ${name} to ${application}`);
      const inside = inDatabase(server.adminUrl, name);
      await query(inside, `alter schema public owner to ${owner}`);
      await query(inside, 'revoke all on schema public from public');
      const there = (url: string): string => Object.assign(new URL(inDatabase(url, name)), { host }).href;
      const restored = { databaseUrl: there(databaseUrl), ownerUrl: there(ownerUrl) };
      await runProgram('pg_restore', ['--exit-on-error', `--dbname=${restored.ownerUrl}`, file]);
      return restored;
    },
  };
};
