-- What was handed down ends with the tokens that it was got with, and with those that the grants above it were got with.
create or replace function line_holds(p_ancestors text[], p_until timestamptz) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select public.line_ended_at(p_ancestors) is null
     and coalesce(public.line_expires_at(p_ancestors) >= p_until, true)
     and not exists (
       select from public.grants g
        where g.id = any(p_ancestors) and g.subjects <> '{}' and not public.subjects_hold(g.subjects))
$$;
