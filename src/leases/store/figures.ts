import { sql } from 'kysely';
import type { Db } from '../../db/database.ts';

export interface LeaseFigures {
  /** The leases whose account is not removed, by stored status. */
  byStatus: Record<string, number>;
  /** For how long the access of the lease that has waited longest has outlived the lease, in seconds; 0 if none waits. */
  endingLagSeconds: number;
  /** The number of targets whose last test found problems. */
  failingTargets: number;
}

/** Reads the figures for the metrics. */
export async function readLeaseFigures(db: Db, now: Date): Promise<LeaseFigures> {
  const { rows } = await sql<{
    byStatus: Record<string, number> | null;
    lag: number | null;
    failing: number;
  }>`
    select (select jsonb_object_agg(status, n)
              from (select status, count(*) as n from leases where cleaned_up_at is null group by status) s)
             as "byStatus",
           (select extract(epoch from ${now}::timestamptz - min(least(expires_at, revoked_at)))::float8
              from leases where access_disabled_at is null and activated_at is not null and least(expires_at, revoked_at) <= ${now}) as lag,
           (select count(*)::integer from resources
             where connection_id is not null and deleted_at is null and preflight_problems <> '[]') as failing`.execute(
    db,
  );
  const [row] = rows;
  return {
    byStatus: row?.byStatus ?? {},
    endingLagSeconds: Math.max(row?.lag ?? 0, 0),
    failingTargets: row?.failing ?? 0,
  };
}
