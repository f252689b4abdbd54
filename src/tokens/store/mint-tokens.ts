import type { Detail } from '../../authorization-details/details-type.ts';
import { type HotStatements, runHot } from '../../db/hot-statements.ts';
import type { Delegation } from '../../grants/delegation.ts';
import {
  areSubjectsActive,
  haveSameSubjects,
  isRevokedByPerson,
  isUsableUntil,
  nameInstants,
  ofOther,
} from '../../grants/liveness-sql.ts';

/**
 * A token to write, with the versions of everything on which it depends. Times are in seconds
 * since the epoch. Undefined members are left out of the JSON and are null in the statement.
 */
export interface MintRow {
  jti: string;
  iat: number;
  exp: number;
  agent_id: string;
  agent_epoch: number;
  secret_id: string;
  auth_method: string;
  /** The thumbprint of the key that the token is bound to. */
  jkt: string | undefined;
  scope: string;
  /** The details that the request named; undefined if it named none. */
  authorization_details: readonly Detail[] | undefined;
  /** The subject and the actors of the token; undefined if its subject is the client. */
  delegation: Delegation | undefined;
  /** The agent that may act for the subject with this token. */
  may_act: string | undefined;
  /** The ids of the tokens for which it is issued in exchange. */
  subjects: string[] | undefined;
  /** Whether the grant of a repeated exchange was read from memory. */
  is_repeated: boolean | undefined;
  /** The issuer of the subject token, and its epoch when the token was verified. */
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

// Checks again every condition that a cache may have answered, so that no token is minted under anything that
// has ended. The correlated EXISTS keeps the plan at one index look-up per row, at any size of the tables.
const mintText = `
with b as materialized (
  select x.*, string_to_array(x.scope, ' ') as scopes
    from json_to_recordset($1::json) as x(jti text, iat bigint, exp bigint, agent_id text, agent_epoch bigint,
      secret_id text, auth_method text, jkt text, scope text, authorization_details jsonb,
      delegation jsonb, may_act text, subjects text[], is_repeated boolean,
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
   where ${areSubjectsActive('b')}
     and (b.grant_id is null or (b.policy_epoch = (select epoch from policy_epoch) and exists (
      select from grants g join resources r on r.id = g.resource_id
       where g.id = b.grant_id and g.version = b.grant_version and g.agent_id = b.agent_id and b.scopes <@ g.scopes
         and r.id = b.resource_id and r.version = b.resource_version and r.epoch = b.resource_epoch and r.deleted_at is null
         and ${nameInstants(isUsableUntil, { now: '$2', until: 'to_timestamp(b.exp)' })}
         and (b.is_repeated is not true or not exists (
           select from grants o
            where o.agent_id = g.agent_id and ${haveSameSubjects} and ${ofOther(isRevokedByPerson)}))
         and not exists (
           select from grants o
            where b.selection <> 'pinned' and o.agent_id = b.agent_id and o.resource_id = b.resource_id
              and o.ancestors = '{}' and o.id <> g.id
              and ${nameInstants(ofOther(isUsableUntil), { now: '$2', until: '$3' })}
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

/** Writes tokens and their audit events in one statement. Returns for each row whether it was written. */
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
