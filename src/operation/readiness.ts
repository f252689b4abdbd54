import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import { missingMigrations } from '../db/migrate.ts';
import type { Clock } from '../platform/clock.ts';

const maxSkewMs = 2_000;

export interface Readiness {
  ready: boolean;
  /** The result of each check: `ok`, or the problem. */
  checks: Record<string, string>;
}

export interface ReadinessDeps {
  db: Db;
  clock: Clock;
  /**
   * Reads whether there is a usable active signing key, and the ids of the published keys that this replica cannot
   * use.
   */
  readKeys: () => Promise<{ canSign: boolean; broken: string[] }>;
  /** Whether the process is shutting down. */
  isStopping: () => boolean;
}

/**
 * Checks whether this replica should receive traffic: the database is reachable and migrated, the clocks agree, and
 * there is a key to sign with. An unusable key beside a usable one is reported, but the replica stays ready: all
 * replicas have the same problem, and other algorithms, introspection and revocation work.
 */
export async function checkReadiness({ db, clock, readKeys, isStopping }: ReadinessDeps): Promise<Readiness> {
  if (isStopping()) return { ready: false, checks: { process: 'stopping' } };
  const checks: Record<string, string> = {};
  try {
    const result = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db);
    checks.database = 'ok';
    const skewMs = Math.abs((result.rows[0]?.now.getTime() ?? 0) - clock.now().getTime());
    checks.clock = skewMs < maxSkewMs ? 'ok' : 'differs from the database clock';
    checks.migrations = (await missingMigrations(db)).length === 0 ? 'ok' : 'missing';
    const { canSign, broken } = await readKeys();
    checks.keys = canSign ? 'ok' : 'no active signing key';
    const ready = Object.values(checks).every((check) => check === 'ok');
    return { ready, checks: broken.length === 0 ? checks : { ...checks, unusable_keys: broken.join(' ') } };
  } catch {
    return { ready: false, checks: { ...checks, database: 'unreachable' } };
  }
}
