import { type SqlBool, sql } from 'kysely';
import type { Detail, DetailsType } from '../authorization-details/details-type.ts';
import type { Db, Tx } from '../db/database.ts';
import { type HotStatements, runHot } from '../db/hot-statements.ts';
import type { Delegation } from '../grants/delegation/delegation.ts';
import type { ApprovalFacts, ScopeText } from '../grants/grant.ts';
import type { DecisionRequest } from '../policies/facts.ts';

export interface SourceResource {
  id: string;
  identifier: string;
  epoch: number;
  version: number;
  tokenTtlSeconds: number;
  tokenAlg: string;
  requireBoundTokens: boolean;
  authorizationDetailsTypes: DetailsType[];
  catalogue: ScopeText[];
}

export interface SourceGrant {
  id: string;
  version: number;
  scopes: string[];
  durationSeconds: number;
  expiresAt: Date;
  authorizationDetails: Detail[] | null;
  facts: DecisionRequest;
  approvals: ApprovalFacts;
  /** Of one that was handed down: whom its tokens are of. */
  delegation: Delegation | null;
}

/**
 * The resource of one of these identifiers and the grants of the agent that are usable for it now: active, and ending
 * no earlier than `usableUntil`; of those that were handed down to it, which may be many, the pinned one alone. Undefined if
 * there is no such resource.
 */
export async function findSource(
  db: Db,
  asked: { agentId: string; identifiers: string[]; pinned: string | undefined; usableUntil: Date },
): Promise<{ resource: SourceResource; grants: SourceGrant[] } | undefined> {
  const resource = await db
    .selectFrom('resources')
    .select(['id', 'identifier', 'epoch', 'version', 'scopes as catalogue'])
    .select(['token_ttl_seconds as tokenTtlSeconds', 'token_alg as tokenAlg'])
    .select('require_bound_tokens as requireBoundTokens')
    .select('authorization_details_types as authorizationDetailsTypes')
    .where('identifier', 'in', asked.identifiers)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  if (resource === undefined) return undefined;
  const grants = await db
    .selectFrom('grants as g')
    .innerJoin('agents as a', 'a.id', 'g.agent_id')
    .select(['g.id', 'g.version', 'g.scopes', 'g.duration_seconds as durationSeconds'])
    .select('g.authorization_details as authorizationDetails')
    .select('g.delegation')
    .select(
      sql<Date>`case when g.ancestors = '{}' then g.expires_at
        else least(g.expires_at, line_expires_at(g.ancestors)) end`.as('expiresAt'),
    )
    .select(['g.request_facts as facts', 'g.approval_facts as approvals'])
    .where('g.agent_id', '=', asked.agentId)
    .where('g.resource_id', '=', resource.id)
    .where('g.status', '=', 'active')
    .where('g.expires_at', '>=', asked.usableUntil)
    .whereRef('g.agent_epoch', '=', 'a.epoch')
    .where('g.resource_epoch', '=', resource.epoch)
    .where(
      sql<SqlBool>`(g.ancestors = '{}' or (g.id = ${asked.pinned ?? null} and line_holds(g.ancestors, ${asked.usableUntil})
        and subjects_hold(g.subjects)))`,
    )
    .execute();
  return {
    resource: resource as unknown as SourceResource,
    grants: grants as unknown as SourceGrant[],
  };
}

/**
 * A token to be written, with the versions of everything that was looked at. Times in seconds since the epoch. What is
 * undefined is not sent at all, and is null there.
 */
export interface MintRow {
  jti: string;
  iat: number;
  exp: number;
  agent_id: string;
  agent_epoch: number;
  secret_id: string;
  auth_method: string;
  /** Of the key that the token is bound to. */
  jkt: string | undefined;
  scope: string;
  /** Where the request named fewer than the grant has. */
  authorization_details: readonly Detail[] | undefined;
  /** Where it is of somebody else. */
  delegation: Delegation | undefined;
  /** The agent that may act for this one with it. */
  may_act: string | undefined;
  /** The tokens that it is got with in exchange. */
  subjects: string[] | undefined;
  /** By whose word it is of somebody else, and under which of its epochs. */
  subject_issuer_id: string | undefined;
  subject_issuer_epoch: number | undefined;
  kid: string;
  grant_id: string | undefined;
  grant_version: number | undefined;
  selection: 'pinned' | 'only' | 'best' | undefined;
  resource_id: string | undefined;
  resource_epoch: number | undefined;
  resource_version: number | undefined;
  policy_epoch: string | undefined;
  event_id: string;
  request_id: string;
  source_ip: string;
}

// Every condition that a cache answered from memory is checked again here, so no cache can mint what has ended. The
// correlated EXISTS keeps the plan at index look-ups by row, however large the tables are.
const mintText = `
with b as materialized (
  select x.*, string_to_array(x.scope, ' ') as scopes
    from json_to_recordset($1::json) as x(jti text, iat bigint, exp bigint, agent_id text, agent_epoch bigint,
      secret_id text, auth_method text, jkt text, scope text, authorization_details jsonb,
      delegation jsonb, may_act text, subjects text[],
      subject_issuer_id text, subject_issuer_epoch bigint, kid text, grant_id text, grant_version bigint, selection text,
      resource_id text, resource_epoch bigint, resource_version bigint, policy_epoch bigint, event_id text,
      request_id text, source_ip text)
), ok as materialized (
  select b.* from b
    join agents a on a.id = b.agent_id and a.epoch = b.agent_epoch and a.disabled_at is null
     and a.deleted_at is null and (a.expires_at is null or a.expires_at >= to_timestamp(b.exp))
     and (b.jkt is not null or not a.require_bound_tokens)
    join agent_secrets s on s.id = b.secret_id and s.client_id = b.agent_id and s.revoked_at is null
     and (s.expires_at is null or s.expires_at > $2)
    join signing_keys k on k.kid = b.kid and k.state = 'active'
   where (b.subject_issuer_id is null or word_holds(b.subject_issuer_id, b.subject_issuer_epoch))
     and (b.subjects is null or subjects_hold(b.subjects))
     and (b.grant_id is null or (b.policy_epoch = (select epoch from policy_epoch) and exists (
      select from grants g join resources r on r.id = g.resource_id
       where g.id = b.grant_id and g.version = b.grant_version and g.status = 'active'
         and g.agent_id = b.agent_id and g.agent_epoch = b.agent_epoch and b.scopes <@ g.scopes
         and g.expires_at >= to_timestamp(b.exp)
         and r.id = b.resource_id and r.version = b.resource_version and r.epoch = b.resource_epoch
         and g.resource_epoch = r.epoch and r.deleted_at is null
         and (g.ancestors = '{}' or (line_holds(g.ancestors, to_timestamp(b.exp)) and subjects_hold(g.subjects)))
         and not exists (
           select from grants o
            where b.selection <> 'pinned' and o.agent_id = b.agent_id and o.resource_id = b.resource_id
              and o.status = 'active' and o.ancestors = '{}' and o.id <> g.id and o.agent_epoch = b.agent_epoch
              and o.resource_epoch = b.resource_epoch and o.expires_at >= $3
              and (b.selection = 'only' or
                   (b.scopes <@ o.scopes and (o.expires_at, o.id) > (g.expires_at, g.id)))))))
), t as (
  insert into tokens (jti, exp, iat, agent_id, agent_epoch, secret_id, auth_method, grant_id, resource_id,
      resource_epoch, scopes, kid, jkt, subjects, subject_issuer_id, subject_issuer_epoch)
  select jti, to_timestamp(exp), to_timestamp(iat), agent_id, agent_epoch, secret_id, auth_method, grant_id,
      resource_id, resource_epoch, scopes, kid, jkt, subjects, subject_issuer_id, subject_issuer_epoch from ok
), e as (
  insert into audit_events (id, at, type, outcome, actor_kind, actor_id, agent_id, grant_id, object_id, request_id,
      source_ip, details)
  select event_id, $2, 'token.issued', 'success', 'agent', agent_id, agent_id, grant_id, jti, request_id, source_ip,
      jsonb_strip_nulls(jsonb_build_object('scope', scope, 'exp', exp, 'kid', kid, 'auth_method', auth_method,
        'jkt', jkt, 'authorization_details', authorization_details, 'delegation', delegation,
        'may_act', may_act)) from ok
)
select case when count(*) < (select count(*) from b) then coalesce(array_agg(jti), '{}') end as some from ok`;

/** Writes tokens and their events in one statement; answers for each row whether it was written. */
export async function mintTokens(
  hot: HotStatements,
  rows: MintRow[],
  at: { now: Date; usableUntil: Date },
): Promise<boolean[]> {
  const values = [JSON.stringify(rows), at.now, at.usableUntil];
  const [written] = await runHot<{ some: string[] | null }>(hot, { name: 'mint', text: mintText, values });
  if (written?.some === null) return rows.map(() => true);
  const jtis = new Set(written?.some);
  return rows.map(({ jti }) => jtis.has(jti));
}

/** A token that somebody asks about, and the client credential they showed (null: none is to be checked). */
export interface ActivityQuery {
  jti: string | null;
  exp: number | null;
  /** The key that the token is signed with: only the one on record vouches for it. */
  kid: string | null;
  client_kind: 'agent' | 'resource' | null;
  client_id: string | null;
  client_epoch: number | null;
  secret_id: string | null;
}

export interface Activity {
  /** Whether the client credential is still good. */
  authentic: boolean;
  /** Null: the token is not active, whatever its signature. */
  agentId: string | null;
  resourceId: string | null;
  authMethod: string | null;
  /** The tokens that it was got with in exchange. */
  subjects: string[] | null;
}

// `limit 1` of what is one row by its key, and a scalar subquery where `exists` would do: else the planner may read all
// tokens, or all active grants, to join them with the few asked for.
export const activityText = `
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
       and (t.jkt is not null or not a.require_bound_tokens)
      join signing_keys k on k.kid = t.kid and k.state <> 'compromised'
      join agent_secrets s on s.id = t.secret_id and s.revoked_at is null
     where t.jti = b.jti and t.exp = to_timestamp(b.exp) and t.kid = b.kid and t.exp > $2 and t.revoked_at is null
       and (t.subjects is null or subjects_hold(t.subjects))
       and (t.subject_issuer_id is null or word_holds(t.subject_issuer_id, t.subject_issuer_epoch))
       and (t.grant_id is null or (
         select true from grants g join resources r on r.id = g.resource_id
          where g.id = t.grant_id and g.status = 'active' and g.expires_at > $2
            and g.agent_epoch = a.epoch and g.resource_epoch = r.epoch and r.epoch = t.resource_epoch
            and r.deleted_at is null and (g.ancestors = '{}' or (line_holds(g.ancestors, $2) and subjects_hold(g.subjects)))
            and (t.jkt is not null or not r.require_bound_tokens)))
     limit 1
  ) t on true`;

/** What is true now of each token, in one statement. */
export async function readActivity(
  hot: HotStatements,
  queries: ActivityQuery[],
  now: Date,
): Promise<Activity[]> {
  const rows = queries.map((query, n) => ({ n, ...query }));
  const values = [JSON.stringify(rows), now];
  const found = await runHot<Activity & { n: number }>(hot, { name: 'activity', text: activityText, values });
  const byNumber = new Map(found.map((row) => [row.n, row]));
  const unknown = { authentic: false, agentId: null, resourceId: null, authMethod: null, subjects: null };
  return queries.map((_, n) => byNumber.get(n) ?? unknown);
}

/** Revokes a token of the agent; answers its grant if this call ended it, else undefined. */
export async function revokeToken(
  tx: Tx,
  token: { jti: string; exp: Date; agentId: string; at: Date },
): Promise<{ grantId: string | null } | undefined> {
  const row = await tx
    .updateTable('tokens')
    .set({ revoked_at: token.at })
    .where('jti', '=', token.jti)
    .where('exp', '=', token.exp)
    .where('agent_id', '=', token.agentId)
    .where('revoked_at', 'is', null)
    .returning('grant_id as grantId')
    .executeTakeFirst();
  return row;
}
