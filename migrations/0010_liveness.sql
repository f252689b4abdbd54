-- A grant or a token ends with anything on which it depends. For each of these one function returns when it ended;
-- "active" means "not ended". PL/pgSQL keeps the plan for the session: planning a look-up over all partitions of
-- tokens takes longer than the look-up. The old functions stay, for replicas of the previous version.

-- The last time at which an agent or resource began to require bound tokens, which ends its unbound ones permanently.
alter table agents add column unbound_tokens_ended_at timestamptz;
alter table resources add column unbound_tokens_ended_at timestamptz;
update agents set unbound_tokens_ended_at = updated_at where require_bound_tokens;
update resources set unbound_tokens_ended_at = updated_at where require_bound_tokens;

create function end_unbound_tokens() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.unbound_tokens_ended_at := new.updated_at;
  return new;
end $$;
create trigger agents_unbound_tokens before update of require_bound_tokens on agents for each row
  when (new.require_bound_tokens and not old.require_bound_tokens) execute function end_unbound_tokens();
create trigger resources_unbound_tokens before update of require_bound_tokens on resources for each row
  when (new.require_bound_tokens and not old.require_bound_tokens) execute function end_unbound_tokens();

-- Element n is the instant at which epoch n of an issuer ended, as for agents and resources.
alter table trusted_issuers add column epoch_ends timestamptz[] not null default '{}';
update trusted_issuers set epoch_ends = array_fill(updated_at, array[(epoch - 1)::integer]) where epoch > 1;

create function note_issuer_epoch_end() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  for ended in old.epoch .. new.epoch - 1 loop
    new.epoch_ends[ended] := new.updated_at;
  end loop;
  return new;
end $$;
create trigger trusted_issuers_epoch_ends before update of epoch on trusted_issuers
  for each row execute function note_issuer_epoch_end();

-- Returns when trust in the subjects of an issuer, as of this epoch,
-- ended; null if it has not. An unknown issuer counts as never trusted.
create function subject_issuer_ended_at(p_issuer_id text, p_epoch bigint) returns timestamptz
language sql stable parallel safe set search_path = pg_catalog, pg_temp as $$
  select case when i.id is null then '-infinity'
    when i.epoch <> p_epoch or i.deleted_at is not null or not i.subject_tokens
      then coalesce(least(i.epoch_ends[p_epoch::integer], i.deleted_at), i.updated_at) end
    from (values (p_issuer_id)) named (id) left join public.trusted_issuers i on i.id = named.id
$$;

-- Returns when an unbound token of an agent for a resource (null: a broker token),
-- issued at p_iat, ended because bound tokens are required; null if it did not.
create function unbound_token_ended_at(p_agent_id text, p_resource_id text, p_iat timestamptz) returns timestamptz
language plpgsql stable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
  return (
  select min(coalesce(requires.ended_at, p_iat))
    from (select a.require_bound_tokens as now, a.unbound_tokens_ended_at as ended_at
            from public.agents a where a.id = p_agent_id
          union all
          select r.require_bound_tokens, r.unbound_tokens_ended_at from public.resources r where r.id = p_resource_id) requires
   where requires.now or p_iat <= requires.ended_at
  );
end $$;

-- Returns when the first of these subject tokens ended: it or its client credential was revoked, its key
-- compromised, its issuer distrusted, or bound tokens required; null if none has. Expiry does not count.
create function subject_tokens_ended_at(p_subjects text[]) returns timestamptz language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
begin
  return (
  select min(least(t.revoked_at, s.revoked_at,
           case when k.state = 'compromised' then k.compromised_at end,
           case when t.subject_issuer_id is not null
             then public.subject_issuer_ended_at(t.subject_issuer_id, t.subject_issuer_epoch) end,
           case when t.jkt is null then public.unbound_token_ended_at(t.agent_id, t.resource_id, t.iat) end))
    from public.tokens t
    left join public.agent_secrets s on s.id = t.secret_id
    left join public.signing_keys k on k.kid = t.kid
   where t.jti = any(p_subjects)
  );
end $$;

-- Returns when the first of these grants ended, by a decision, by an epoch or with a subject token; null if none has.
create function ancestors_ended_at(p_ancestors text[]) returns timestamptz language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
begin
  return (
  select min(least(g.ended_at, a.epoch_ends[g.agent_epoch::integer], r.epoch_ends[g.resource_epoch::integer],
      case when g.subjects <> '{}' then public.subject_tokens_ended_at(g.subjects) end))
    from public.grants g
    join public.agents a on a.id = g.agent_id
    join public.resources r on r.id = g.resource_id
   where g.id = any(p_ancestors)
  );
end $$;

-- Returns the earliest expiry among the agents of these grants; null if none expires.
create function ancestors_expire_at(p_ancestors text[]) returns timestamptz language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
begin
  return (
  select min(a.expires_at) from public.grants g join public.agents a on a.id = g.agent_id where g.id = any(p_ancestors)
  );
end $$;

-- Rises with every change of these grants and their agents. Their resource is that of the grant delegated from them.
create function ancestors_version(p_ancestors text[]) returns bigint language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
begin
  return (
  select sum(g.version + a.version)::bigint from public.grants g join public.agents a on a.id = g.agent_id
   where g.id = any(p_ancestors)
  );
end $$;

create or replace function word_holds(p_issuer_id text, p_epoch bigint) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select public.subject_issuer_ended_at(p_issuer_id, p_epoch) is null
$$;

create or replace function subjects_hold(p_subjects text[]) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select public.subject_tokens_ended_at(p_subjects) is null
$$;

create or replace function subjects_ended_at(p_subjects text[]) returns timestamptz language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select public.subject_tokens_ended_at(p_subjects)
$$;

create or replace function line_ended_at(p_ancestors text[]) returns timestamptz language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select public.ancestors_ended_at(p_ancestors)
$$;

create or replace function line_holds(p_ancestors text[], p_until timestamptz) returns boolean language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select public.ancestors_ended_at(p_ancestors) is null
     and coalesce(public.ancestors_expire_at(p_ancestors) >= p_until, true)
$$;
