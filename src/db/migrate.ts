import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Migration, Migrator, sql } from 'kysely';
import pg from 'pg';
import type { Db } from './database.ts';
import { sqlState, sqlStateOf } from './sqlstate.ts';

/** The directory of the .sql files, relative to src/db as well as dist/db. */
export const migrationsDirectory = join(import.meta.dirname, '../../migrations');

/** The statements that run after every migration, not only once. */
const privilegesFile = join(migrationsDirectory, 'privileges.sql');
const migrationFile = /^\d{4}_.*\.sql$/;

/** Returns the names of all migrations in order: file names without `.sql`. */
async function listMigrations(): Promise<string[]> {
  const files = await readdir(migrationsDirectory);
  return files
    .filter((file) => migrationFile.test(file))
    .map((file) => file.slice(0, -'.sql'.length))
    .sort();
}

async function readMigrations(): Promise<Record<string, Migration>> {
  const migrations: Record<string, Migration> = {};
  for (const name of await listMigrations()) {
    const text = await readFile(join(migrationsDirectory, `${name}.sql`), 'utf8');
    migrations[name] = { up: async (db) => void (await sql.raw(text).execute(db)) };
  }
  return migrations;
}

/**
 * Revokes CREATE on the schema public from PUBLIC. Before PostgreSQL 15, and in databases upgraded from there, every
 * role has it, and so could create functions and operators that other sessions would call. Before 15 a superuser owns
 * the schema, so the revocation may fail here; then the broker refuses to start (see `excessPowers`).
 */
async function closeSchema(owner: Db): Promise<void> {
  try {
    await owner.transaction().execute(async (tx) => {
      await sql`select pg_advisory_xact_lock(hashtext('hallpass.grants'))`.execute(tx);
      const open = await sql<{ open: boolean }>`
        select has_schema_privilege('public', oid, 'CREATE') as open
          from pg_namespace where nspname = 'public'`.execute(tx);
      if (open.rows[0]?.open === true) await sql`revoke create on schema public from public`.execute(tx);
    });
  } catch (error) {
    if (sqlStateOf(error) !== sqlState.insufficientPrivilege) throw error;
  }
}

/** Grants the application role the privileges that the broker needs, in one transaction. */
async function grantPrivileges(owner: Db, applicationRole: string): Promise<void> {
  const text = await readFile(privilegesFile, 'utf8');
  const statements = text.replaceAll(':role', pg.escapeIdentifier(applicationRole));
  await owner.transaction().execute((tx) => sql.raw(statements).execute(tx));
}

/**
 * Migrates the database to the newest version, as its owner, and grants `applicationRole` its privileges. Atomic, and
 * one caller at a time (Kysely's Migrator locks its table). Returns the names of the applied migrations.
 */
export async function migrate(owner: Db, applicationRole: string): Promise<string[]> {
  await closeSchema(owner);
  const migrator = new Migrator({
    db: owner,
    provider: { getMigrations: readMigrations },
    migrationTableName: 'migrations',
    migrationLockTableName: 'migrations_lock',
  });
  const { error, results } = await migrator.migrateToLatest();
  if (error !== undefined) throw error instanceof Error ? error : new Error(String(error));
  await grantPrivileges(owner, applicationRole);
  return (results ?? []).map((result) => result.migrationName);
}

/**
 * Returns the migrations that this build has and the database lacks; empty if the database is ready. A database with
 * newer migrations is ready too, because every migration also works with the previous version of the broker (expand,
 * then contract).
 */
export async function missingMigrations(db: Db): Promise<string[]> {
  const known = await listMigrations();
  const table = await sql<{ there: boolean }>`select to_regclass('migrations') is not null as there`.execute(
    db,
  );
  if (table.rows[0]?.there !== true) return known;
  const applied = await sql<{ name: string }>`select name from migrations`.execute(db);
  const names = new Set(applied.rows.map((row) => row.name));
  return known.filter((name) => !names.has(name));
}
