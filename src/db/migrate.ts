import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Migration, Migrator, sql } from 'kysely';
import type { Db } from './database.ts';

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
 * Brings the database to the newest version, as its owner, and gives `applicationRole` what the broker needs.
 * All or nothing, one caller at a time (kysely's Migrator locks its table). Answers the names that were applied.
 */
export async function migrate(owner: Db, applicationRole: string): Promise<string[]> {
  const migrator = new Migrator({
    db: owner,
    provider: { getMigrations: readMigrations },
    migrationTableName: 'migrations',
    migrationLockTableName: 'migrations_lock',
  });
  const { error, results } = await migrator.migrateToLatest();
  if (error !== undefined) throw error instanceof Error ? error : new Error(String(error));
  await sql`select grant_application_role(${applicationRole}::name)`.execute(owner);
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
