-- In today's words: line = the ancestors of a grant, subjects = subject tokens, word = the tokens of a subject token issuer,
-- hold = are active. Replaced by 0010.

-- A delegated grant ends with its subject tokens, and with those of its ancestors.

-- Whether none of these tokens was revoked, was obtained with a revoked secret, is signed with a compromised key, or was
-- obtained with a token of a subject token issuer that is no longer trusted. A compromised key counts because a token signed
-- with it may be forged.
create or replace function subjects_hold(p_subjects text[]) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select not exists (
    select from public.tokens t
     where t.jti = any(p_subjects)
       and (t.revoked_at is not null
            or exists (select from public.agent_secrets s where s.id = t.secret_id and s.revoked_at is not null)
            or exists (select from public.signing_keys k where k.kid = t.kid and k.state = 'compromised')
            or (t.subject_issuer_id is not null and not public.word_holds(t.subject_issuer_id, t.subject_issuer_epoch))))
$$;

-- Returns when the first of these tokens, its agent secret or its signing key was revoked or compromised; null if none was.
-- Does not consider subject token issuers: see subjects_hold.
create function subjects_ended_at(p_subjects text[]) returns timestamptz language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select min(least(t.revoked_at, s.revoked_at, k.compromised_at))
    from public.tokens t
    left join public.agent_secrets s on s.id = t.secret_id
    left join public.signing_keys k on k.kid = t.kid
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
