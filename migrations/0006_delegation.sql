-- Grants that were handed down from others (RFC 8693): never wider, and ended with any of those above them.

-- From the first grant to the one it was handed down from; empty: it is its agent's own.
alter table grants add column ancestors text[] not null default '{}' check (cardinality(ancestors) <= 4);
-- Whom its tokens are of, and who acts.
alter table grants add column delegation jsonb;
-- The token that it was got with, and those that this was got with: it ends with any of them.
alter table grants add column subjects text[] not null default '{}';
alter table grants add constraint grants_handed_down check (
  (ancestors = '{}') = (delegation is null) and (ancestors = '{}') = (subjects = '{}')
  and (ancestors = '{}' or status <> 'pending'));
create index grants_below on grants using gin (ancestors)
  where ancestors <> '{}' and status in ('pending', 'scheduled', 'active');
create index grants_subjects on grants using gin (subjects) where subjects <> '{}';

-- Those that a token was got with in exchange: it is worth no more than any of them.
alter table tokens add column subjects text[];

-- Whether somebody whom the issuer speaks of can be whom an agent acts for.
alter table trusted_issuers add column subject_tokens boolean not null default false;
-- Raised when it is believed otherwise, or no longer: what was got by its word under an older one is dead for ever.
alter table trusted_issuers add column epoch bigint not null default 1;
create trigger trusted_issuers_epoch before update of epoch on trusted_issuers
  for each row execute function keep_epoch_rising();
-- By whose word a token is of somebody, and under which of its epochs.
alter table tokens add column subject_issuer_id text;
alter table tokens add column subject_issuer_epoch bigint;
create index grants_by_subject_issuer on grants ((delegation -> 'sub_id' ->> 'iss'))
  where delegation is not null and status in ('pending', 'scheduled', 'active');

-- Whether an issuer's word is good that was taken under this epoch.
create function word_holds(p_issuer_id text, p_epoch bigint) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from public.trusted_issuers i
     where i.id = p_issuer_id and i.epoch = p_epoch and i.deleted_at is null and i.subject_tokens)
$$;

-- Whether none of these tokens is revoked, nor got with a secret that is, nor by a word that is not good any more.
create function subjects_hold(p_subjects text[]) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select not exists (
    select from public.tokens t
     where t.jti = any(p_subjects)
       and (t.revoked_at is not null
            or exists (select from public.agent_secrets s where s.id = t.secret_id and s.revoked_at is not null)
            or (t.subject_issuer_id is not null and not public.word_holds(t.subject_issuer_id, t.subject_issuer_epoch))))
$$;

-- When the first of these grants ended, by hand or by an epoch; null: all last until their time.
create function line_ended_at(p_ancestors text[]) returns timestamptz language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select min(least(g.ended_at, a.epoch_ends[g.agent_epoch::integer], r.epoch_ends[g.resource_epoch::integer]))
    from public.grants g
    join public.agents a on a.id = g.agent_id
    join public.resources r on r.id = g.resource_id
   where g.id = any(p_ancestors)
$$;

-- When the first of their agents ends; null: none does.
create function line_expires_at(p_ancestors text[]) returns timestamptz language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select min(a.expires_at) from public.grants g join public.agents a on a.id = g.agent_id where g.id = any(p_ancestors)
$$;

-- Rises with every change of these grants and their agents (their resource is that of the one below).
create function line_version(p_ancestors text[]) returns bigint language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select sum(g.version + a.version)::bigint from public.grants g join public.agents a on a.id = g.agent_id
   where g.id = any(p_ancestors)
$$;

-- Whether one that was handed down can be used until p_until, as far as those above it are concerned.
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
    raise exception 'grant % is wider than the one it is handed down from', new.id using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger grants_narrower before insert or update of ancestors, resource_id, scopes, expires_at on grants
  for each row when (new.ancestors <> '{}') execute function keep_narrower();

create function keep_ancestors() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'what grant % was handed down from stays so', old.id using errcode = 'restrict_violation';
end $$;
create trigger grants_ancestors before update of ancestors on grants
  for each row when (new.ancestors <> old.ancestors) execute function keep_ancestors();
