-- Delegated grants (RFC 8693): never wider than their parent, and ended by the end of any ancestor.

-- The ancestors, from the first grant to the parent; empty: the grant is not delegated.
alter table grants add column ancestors text[] not null default '{}' check (cardinality(ancestors) <= 4);
-- The subject and the actors of the tokens of a delegated grant.
alter table grants add column delegation jsonb;
-- The ids of the subject token with which the grant was obtained, and of the subject tokens of that token: the grant ends with any of them.
alter table grants add column subjects text[] not null default '{}';
alter table grants add constraint grants_handed_down check (
  (ancestors = '{}') = (delegation is null) and (ancestors = '{}') = (subjects = '{}')
  and (ancestors = '{}' or status <> 'pending'));
create index grants_below on grants using gin (ancestors)
  where ancestors <> '{}' and status in ('pending', 'scheduled', 'active');
create index grants_subjects on grants using gin (subjects) where subjects <> '{}';

-- The ids of the subject tokens with which a token was obtained: the token is inactive as soon as any of them is.
alter table tokens add column subjects text[];

-- Whether tokens of the issuer about people may be subject tokens.
alter table trusted_issuers add column subject_tokens boolean not null default false;
-- Raised when the trust in the issuer changes or ends: what was obtained with its subject tokens under an older epoch is inactive permanently.
alter table trusted_issuers add column epoch bigint not null default 1;
create trigger trusted_issuers_epoch before update of epoch on trusted_issuers
  for each row execute function keep_epoch_rising();
-- The subject token issuer whose token says for whom the agent acts, and the epoch of that issuer.
alter table tokens add column subject_issuer_id text;
alter table tokens add column subject_issuer_epoch bigint;
create index grants_by_subject_issuer on grants ((delegation -> 'sub_id' ->> 'iss'))
  where delegation is not null and status in ('pending', 'scheduled', 'active');

-- Whether this epoch of a subject token issuer is the current one, and the issuer still is a subject token issuer.
create function word_holds(p_issuer_id text, p_epoch bigint) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from public.trusted_issuers i
     where i.id = p_issuer_id and i.epoch = p_epoch and i.deleted_at is null and i.subject_tokens)
$$;

-- Whether none of these tokens is revoked, was obtained with a revoked secret, or has a subject token issuer with another epoch now.
create function subjects_hold(p_subjects text[]) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select not exists (
    select from public.tokens t
     where t.jti = any(p_subjects)
       and (t.revoked_at is not null
            or exists (select from public.agent_secrets s where s.id = t.secret_id and s.revoked_at is not null)
            or (t.subject_issuer_id is not null and not public.word_holds(t.subject_issuer_id, t.subject_issuer_epoch))))
$$;

-- When the first of these grants ended, by a decision or by an epoch; null: none has ended before its time was over.
create function line_ended_at(p_ancestors text[]) returns timestamptz language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select min(least(g.ended_at, a.epoch_ends[g.agent_epoch::integer], r.epoch_ends[g.resource_epoch::integer]))
    from public.grants g
    join public.agents a on a.id = g.agent_id
    join public.resources r on r.id = g.resource_id
   where g.id = any(p_ancestors)
$$;

-- When the first of the agents of these grants expires; null: none of them expires.
create function line_expires_at(p_ancestors text[]) returns timestamptz language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select min(a.expires_at) from public.grants g join public.agents a on a.id = g.agent_id where g.id = any(p_ancestors)
$$;

-- Rises with every change of these grants and of their agents. (Their resource is the resource of the delegated grant.)
create function line_version(p_ancestors text[]) returns bigint language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select sum(g.version + a.version)::bigint from public.grants g join public.agents a on a.id = g.agent_id
   where g.id = any(p_ancestors)
$$;

-- Whether the ancestors of a delegated grant permit its use until p_until.
create function line_holds(p_ancestors text[], p_until timestamptz) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select public.line_ended_at(p_ancestors) is null
     and coalesce(public.line_expires_at(p_ancestors) >= p_until, true)
$$;

create function keep_narrower() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  parent record;
begin
  select g.id, g.ancestors, g.resource_id, g.scopes, g.expires_at into parent
    from public.grants g where g.id = new.ancestors[cardinality(new.ancestors)];
  if parent.id is null or new.ancestors <> parent.ancestors || parent.id or new.resource_id <> parent.resource_id
    or not new.scopes <@ parent.scopes or new.expires_at > parent.expires_at or parent.expires_at is null then
    raise exception 'grant % is wider than its parent', new.id using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger grants_narrower before insert or update of ancestors, resource_id, scopes, expires_at on grants
  for each row when (new.ancestors <> '{}') execute function keep_narrower();

create function keep_ancestors() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the ancestors of grant % cannot change', old.id using errcode = 'restrict_violation';
end $$;
create trigger grants_ancestors before update of ancestors on grants
  for each row when (new.ancestors <> old.ancestors) execute function keep_ancestors();
