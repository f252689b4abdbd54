import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import { missingMigrations } from '../db/migrate.ts';
import type { Clock } from '../platform/clock.ts';

const maxSkewMs = 2_000;

export interface Readiness {
  ready: boolean;
  /** Each check with `ok` or what is wrong. */
  checks: Record<string, string>;
}

export interface ReadinessDeps {
  db: Db;
  clock: Clock;
  /** Whether an active signing key is at hand, and the names of those that are not usable here. */
  readKeys: () => Promise<{ canSign: boolean; broken: string[] }>;
  /** Whether the process is ending. */
  isStopping: () => boolean;
}

/**
 * Whether this replica should get traffic: database reachable and migrated, clocks agreeing, a key to sign with. A key
 * that is not usable beside one that is gets said and is no reason to send the traffic away: it is so on every replica
 * alike, and the other algorithms, introspection and revocation work.
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
