import { sql } from 'kysely';
import type { Tx } from '../../../db/database.ts';
import { epochsEndedAt, isOpen, ownEnd } from '../../liveness-sql.ts';
import type { CatalogueChange } from '../ending.ts';

/**
 * Writes as ended every grant that uses an ended scope or type (see `CatalogueChange`), and every pending request that has
 * an approval and uses a scope whose text changed. Each end reason names these scopes or types. A grant that has already
 * ended, because its own time is over or something that it depends on ended, keeps that end. The expiry of its agent does
 * not count, because it can be changed. Returns the number of grants. The caller has locked the resource FOR UPDATE
 * in `tx`.
 */
export async function endGrantsUsing(
  tx: Tx,
  ending: CatalogueChange & { endingId: string; resourceId: string; by: string; at: Date },
): Promise<number> {
  const { endingId, resourceId, endedScopes, changedScopes, endedTypes, by, at } = ending;
  const usedTypes = sql`select distinct detail ->> 'type' as type
    from jsonb_array_elements(g.authorization_details) detail where detail ->> 'type' = any(${endedTypes}::text[])`;
  const result = await sql`
    update grants g
       set status = case g.status when 'pending' then 'denied' else 'revoked' end,
           ended_at = ${at}, ended_by = ${by}, ending_id = ${endingId},
           end_reason = case when g.scopes && ${endedScopes}::text[]
             then 'scope was removed or its risk raised: '
               || (select string_agg(used, ' ') from unnest(g.scopes) used where used = any(${endedScopes}::text[]))
             when exists (${usedTypes}) then 'authorization details type was removed or changed: '
               || (select string_agg(used.type, ' ') from (${usedTypes}) used)
             else 'scope was changed after an approval: '
               || (select string_agg(used, ' ') from unnest(g.scopes) used where used = any(${changedScopes}::text[]))
             end
      from agents a, resources r
     where g.resource_id = ${resourceId} and ${sql.raw(isOpen)}
       and (g.scopes && ${endedScopes}::text[] or exists (${usedTypes})
            or (g.status = 'pending' and g.scopes && ${changedScopes}::text[]
                and exists (select from approvals p where p.grant_id = g.id)))
       and ${sql.raw(ownEnd)} > ${at}
       and a.id = g.agent_id and r.id = g.resource_id and ${sql.raw(epochsEndedAt)} is null`.execute(tx);
  return Number(result.numAffectedRows ?? 0n);
}
