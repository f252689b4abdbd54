import { type SqlBool, sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import { bindInstants, epochsEndedAt, isOpen } from '../../grants/liveness-sql.ts';

/**
 * Queues the requests of these agents: each waits until the transactions of earlier requests end, so that they cannot
 * exceed a limit together. Must run before any row is locked: a stream of requests that share a row lock would delay a
 * change of that row. The locks are taken in a fixed order, so that no two requests deadlock.
 */
export async function queueRequest(tx: Tx, agentIds: readonly string[]): Promise<void> {
  await sql`
    select pg_advisory_xact_lock(place) from (
      select distinct hashtextextended('hallpass.grants ' || id, 0) as place
        from unnest(${agentIds}::text[]) as ids (id) order by place) places`.execute(tx);
}

export interface OpenGrantsOf {
  agentId: string;
  resourceId: string;
  /** True to count the delegated grants, false to count the agent's own. */
  delegated: boolean;
  now: Date;
}

/**
 * Counts the open grants of the agent, in total and for the resource. If `exact`, leaves out those
 * that a raised epoch or an ended ancestor has ended, which costs several look-ups for each grant.
 */
export async function countOpenGrants(
  tx: Tx,
  of: OpenGrantsOf,
  { exact }: { exact: boolean },
): Promise<{ total: number; forResource: number }> {
  const query = tx
    .selectFrom('grants as g')
    .innerJoin('agents as a', 'a.id', 'g.agent_id')
    .innerJoin('resources as r', 'r.id', 'g.resource_id')
    .select((eb) => eb.fn.countAll<string>().as('total'))
    .select((eb) =>
      eb.fn.countAll<string>().filterWhere('g.resource_id', '=', of.resourceId).as('for_resource'),
    )
    .where('g.agent_id', '=', of.agentId)
    .where(sql<SqlBool>`${sql.raw(isOpen)}`)
    .where(sql<SqlBool>`(g.ancestors <> '{}') = ${of.delegated}`)
    .where(sql<SqlBool>`coalesce(g.expires_at, g.lapses_at) > ${of.now}`)
    .$if(exact, (counted) => counted.where(sql<SqlBool>`${bindInstants(epochsEndedAt)} is null`));
  const row = await query.executeTakeFirstOrThrow();
  return { total: Number(row.total), forResource: Number(row.for_resource) };
}
