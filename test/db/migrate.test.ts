import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { excessPowers } from '../../src/db/application-role.ts';
import { openDatabase } from '../../src/db/database.ts';
import { migrate, missingMigrations } from '../../src/db/migrate.ts';
import { createLog } from '../../src/platform/log.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

const root = join(import.meta.dirname, '../..');
let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

const ownerDatabase = () =>
  openDatabase({
    url: database.ownerUrl,
    log: createLog('warn'),
    maxConnections: 2,
    applicationName: 'hallpass-test',
  });

async function migrateAsOwner(): Promise<void> {
  const owner = ownerDatabase();
  await migrate(owner.db, inject('server').applicationRole);
  await owner.close();
}

describe('migrations', () => {
  it('report what is missing, and run once for any number of concurrent callers', async () => {
    await database.owner.query('drop schema public cascade; create schema public');
    expect(await missingMigrations(database.db)).toEqual([
      '0001_broker',
      '0002_guards',
      '0003_epoch_ends',
      '0004_proofs',
      '0005_authorization_details',
      '0006_delegation',
      '0007_grants_on_demand',
      '0008_lines_hold_whole',
      '0009_feeds',
      '0010_liveness',
      '0011_grant_endings',
      '0012_agent_owners',
      '0013_identities',
      '0014_leases',
      '0015_credential_rotation',
      '0016_lease_indexes',
      '0017_upstreams',
      '0018_calls',
    ]);
    const owners = [ownerDatabase(), ownerDatabase()];
    const applied = await Promise.all(owners.map(({ db }) => migrate(db, inject('server').applicationRole)));
    expect(applied.map((names) => names.length).sort()).toEqual([0, 18]);
    await Promise.all(owners.map((owner) => owner.close()));
    expect(await missingMigrations(database.db)).toEqual([]);
  });

  it('leave the database as it was when one of them fails', async () => {
    await database.owner.query(
      'drop schema public cascade; create schema public; create table grants (a int)',
    );
    const owner = ownerDatabase();
    await expect(migrate(owner.db, inject('server').applicationRole)).rejects.toThrow('already exists');
    await owner.close();
    const tables = await database.owner.query("select to_regclass('admins') as admins");
    expect(tables.rows[0]).toEqual({ admins: null });
  });

  it('revoke CREATE on the schema public from PUBLIC, which has it before PostgreSQL 15', async () => {
    await database.owner.query(
      'drop schema public cascade; create schema public; grant create on schema public to public',
    );
    await migrateAsOwner();
    expect(await excessPowers(database.db)).toEqual([]);
    await expect(database.pool.query('create table mine (a int)')).rejects.toMatchObject({ code: '42501' });
  });

  it('run where only a superuser can revoke CREATE on the schema public, and then the broker refuses to start', async () => {
    const { adminUrl } = inject('server');
    const url = Object.assign(new URL(adminUrl), { pathname: new URL(database.url).pathname });
    const admin = new pg.Client({ connectionString: url.href });
    await admin.connect();
    await admin.query(
      'drop schema public cascade; create schema public; grant usage, create on schema public to public',
    );
    await migrateAsOwner();
    expect(await excessPowers(database.db)).toEqual([
      'may create in the schema public (its owner must revoke create on schema public from public)',
    ]);
    await admin.query('revoke create on schema public from public');
    expect(await excessPowers(database.db)).toEqual([]);
    await admin.end();
  });

  it('result in the types that the code was compiled with', () => {
    const server = inject('server');
    const url = new URL(server.adminUrl);
    url.pathname = `/${server.templates.empty}`;
    const config = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const [command, ...args] = String(config.scripts['generate:db']).split(' ');
    const result = spawnSync(
      join(root, 'node_modules/.bin', command ?? ''),
      [...args, '--url', url.href, '--verify'],
      {
        cwd: root,
        encoding: 'utf8',
      },
    );
    expect(`${result.stdout}${result.stderr}`).toContain('up-to-date');
    expect(result.status).toBe(0);
  });
});
