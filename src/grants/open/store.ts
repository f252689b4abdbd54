import { type SqlBool, sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import { outerEndedAt } from '../store.ts';

/**
 * Requests of one agent wait here for each other until their transactions end, so that none slips past a limit. Before they
 * lock anything else: rows that one agent's requests share by turns without a gap could be changed by nobody.
 */
export async function queueRequest(tx: Tx, agentId: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`hallpass.grants ${agentId}`}, 0))`.execute(tx);
}

export interface OpenGrantsOf {
  agentId: string;
  resourceId: string;
  /** Whether those are counted that were handed down to the agent, or its own. */
  handedDown: boolean;
  now: Date;
}

/**
 * How many open grants the agent has, and how many of them for the resource; what an epoch or time has ended does not
 * count.
 */
export async function countOpenGrants(
  tx: Tx,
  of: OpenGrantsOf,
): Promise<{ total: number; forResource: number }> {
  const row = await tx
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
    .where(sql<SqlBool>`${outerEndedAt} is null`)
    .executeTakeFirstOrThrow();
  return { total: Number(row.total), forResource: Number(row.for_resource) };
}
