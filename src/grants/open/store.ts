import { type SqlBool, sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import { outerEndedAt } from '../store.ts';

/**
 * Requests of one agent wait here for each other until their transactions end, so that none slips past a limit; and so do
 * those that rely on what is above them, with the agents of all of that. Before they lock anything else: rows that requests
 * share by turns without a gap could be changed by nobody. In one order, so that no two wait for each other.
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
  /** Whether those are counted that were handed down to the agent, or its own. */
  handedDown: boolean;
  now: Date;
}

/**
 * How many open grants the agent has, and how many of them for the resource. What an epoch or anything above has ended does
 * not count if it is `exact`, which costs several look-ups for each grant.
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
    .where('g.status', 'in', ['pending', 'scheduled', 'active'])
    .where(sql<SqlBool>`(g.ancestors <> '{}') = ${of.handedDown}`)
    .where(sql<SqlBool>`coalesce(g.expires_at, g.lapses_at) > ${of.now}`)
    .$if(exact, (counted) => counted.where(sql<SqlBool>`${outerEndedAt} is null`));
  const row = await query.executeTakeFirstOrThrow();
  return { total: Number(row.total), forResource: Number(row.for_resource) };
}
