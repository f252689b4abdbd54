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

-- Whether none of these tokens is revoked.
create function subjects_hold(p_subjects text[]) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select not exists (
    select from public.tokens t where t.jti = any(p_subjects) and t.revoked_at is not null)
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

-- Rises with every change of these grants, their agents and their resource.
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
