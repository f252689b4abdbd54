import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Migration, Migrator, sql } from 'kysely';
import type { Db } from './database.ts';
import { sqlState, sqlStateOf } from './sqlstate.ts';

/** Where the .sql files are, from src/db as from dist/db. */
export const migrationsDirectory = join(import.meta.dirname, '../../migrations');

/** The names of all migrations, in order: file names without `.sql`. */
async function listMigrations(): Promise<string[]> {
  const files = await readdir(migrationsDirectory);
  return files
    .filter((file) => file.endsWith('.sql'))
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
 * Before PostgreSQL 15, and in a database that was upgraded from there, everybody may create in the schema public, and
 * so put functions and operators where other sessions look for theirs. Where the schema is not the owner's to close
 * (before 15 it is the superuser's), it stays open here; then the broker does not start (`excessPowers`).
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

/**
 * Brings the database to the newest version, as its owner, and gives `applicationRole` what the broker needs.
 * All or nothing, one caller at a time (kysely's Migrator locks its table). Answers the names that were applied.
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
  await sql`select public.grant_application_role(${applicationRole}::name)`.execute(owner);
  return (results ?? []).map((result) => result.migrationName);
}

/**
 * The migrations this build knows and the database lacks. Empty: ready. A database that is ahead is fine,
 * since every migration works with the broker before it (expand, then contract).
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
