import { type HotStatements, runHot } from '../../db/hot-statements.ts';
import { isActive, isBoundAsRequired, isTokenActive, nameInstants } from '../../grants/liveness-sql.ts';

/** A token to look up, and the credential of the requesting client (null if none is to be checked). */
export interface ActivityQuery {
  jti: string | null;
  exp: number | null;
  /** The key that signed the token. A token is active only if this is the key recorded for it. */
  kid: string | null;
  client_kind: 'agent' | 'resource' | null;
  client_id: string | null;
  client_epoch: number | null;
  secret_id: string | null;
}

export interface Activity {
  /** Whether the client's credential is still valid. */
  authentic: boolean;
  /** The agent of the token; null if the token is not active, even if its signature is valid. */
  agentId: string | null;
  resourceId: string | null;
  authMethod: string | null;
  /** The ids of the tokens that it was issued in exchange for. */
  subjects: string[] | null;
}

// `limit 1` for one row found by its key, and a scalar subquery instead of `exists`: otherwise
// the planner may read all tokens, or all active grants, to join them with the few queries.
const buildActivityText = (isUnexpired: string) => `
with b as materialized (
  select x.* from json_to_recordset($1::json) as x(n bigint, jti text, exp bigint, kid text, client_kind text,
    client_id text, client_epoch bigint, secret_id text)
)
select b.n::integer as n, t.agent_id as "agentId", t.resource_id as "resourceId", t.auth_method as "authMethod",
  t.subjects,
  case b.client_kind
    when 'agent' then exists (
      select from agents a join agent_secrets s on s.client_id = a.id
       where a.id = b.client_id and a.epoch = b.client_epoch and a.disabled_at is null and a.deleted_at is null
         and (a.expires_at is null or a.expires_at > $2) and s.id = b.secret_id and s.revoked_at is null
         and (s.expires_at is null or s.expires_at > $2))
    when 'resource' then exists (
      select from resources r join resource_secrets s on s.client_id = r.id
       where r.id = b.client_id and r.epoch = b.client_epoch and r.deleted_at is null and s.id = b.secret_id
         and s.revoked_at is null and (s.expires_at is null or s.expires_at > $2))
    else true
  end as authentic
  from b left join lateral (
    select t.agent_id, t.resource_id, t.auth_method, t.subjects
      from tokens t
      join agents a on a.id = t.agent_id and a.epoch = t.agent_epoch and a.disabled_at is null
       and a.deleted_at is null and (a.expires_at is null or a.expires_at > $2)
      join signing_keys k on k.kid = t.kid
      join agent_secrets s on s.id = t.secret_id
     where t.jti = b.jti and t.exp = to_timestamp(b.exp) and t.kid = b.kid and ${isUnexpired} and ${isTokenActive}
       and (t.grant_id is null or (
         select true from grants g join resources r on r.id = g.resource_id
          where g.id = t.grant_id and r.epoch = t.resource_epoch and r.deleted_at is null
            and ${isBoundAsRequired('r')} and ${nameInstants(isActive, { now: '$2' })}))
     limit 1
  ) t on true`;

export const activityText = buildActivityText('t.exp > $2');
/** A token that has expired still stands for what began under it. */
const openActivityText = buildActivityText('true');

/** Reads for each query whether its token is active and its credential valid, in one statement. */
export async function readActivity(
  hot: HotStatements,
  queries: ActivityQuery[],
  now: Date,
): Promise<Activity[]> {
  return read(hot, { name: 'activity', text: activityText, queries, now });
}

/** Reads the same of tokens under which something has begun, such as a response that still streams: their own expiry is ignored. */
export async function readOpenActivity(
  hot: HotStatements,
  queries: ActivityQuery[],
  now: Date,
): Promise<Activity[]> {
  return read(hot, { name: 'open activity', text: openActivityText, queries, now });
}

async function read(
  hot: HotStatements,
  { name, text, queries, now }: { name: string; text: string; queries: ActivityQuery[]; now: Date },
): Promise<Activity[]> {
  const rows = queries.map((query, n) => ({ n, ...query }));
  const values = [JSON.stringify(rows), now];
  const found = await runHot<Activity & { n: number }>(hot, { name, text, values });
  const byNumber = new Map(found.map((row) => [row.n, row]));
  const unknown = { authentic: false, agentId: null, resourceId: null, authMethod: null, subjects: null };
  return queries.map((_, n) => byNumber.get(n) ?? unknown);
}
