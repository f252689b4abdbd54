-- What was handed down ends with the tokens that it was got with, and with those that the grants above it were got with.

-- When the first of these tokens was revoked, or what it was got by was taken back; null: all last until their time.
create function subjects_ended_at(p_subjects text[]) returns timestamptz language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select min(least(t.revoked_at, s.revoked_at))
    from public.tokens t left join public.agent_secrets s on s.id = t.secret_id
   where t.jti = any(p_subjects)
$$;

create or replace function line_ended_at(p_ancestors text[]) returns timestamptz language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select min(least(g.ended_at, a.epoch_ends[g.agent_epoch::integer], r.epoch_ends[g.resource_epoch::integer],
      case when g.subjects <> '{}' then public.subjects_ended_at(g.subjects) end))
    from public.grants g
    join public.agents a on a.id = g.agent_id
    join public.resources r on r.id = g.resource_id
   where g.id = any(p_ancestors)
$$;

create or replace function line_holds(p_ancestors text[], p_until timestamptz) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select public.line_ended_at(p_ancestors) is null
     and coalesce(public.line_expires_at(p_ancestors) >= p_until, true)
     and not exists (
       select from public.grants g
        where g.id = any(p_ancestors) and g.subjects <> '{}' and not public.subjects_hold(g.subjects))
$$;
