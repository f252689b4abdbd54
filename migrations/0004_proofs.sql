-- Agents prove themselves by keys or through others as well as by secrets, and what proves somebody once is not taken again.

alter table agents drop constraint agents_token_endpoint_auth_method_check;
alter table agents add constraint agents_token_endpoint_auth_method_check
  check (token_endpoint_auth_method in ('client_secret_basic', 'client_secret_post', 'private_key_jwt', 'federated_jwt'));
-- Whether its assertions may name the token endpoint as audience, or several.
alter table agents add column legacy_audience boolean not null default false;

-- Others whose tokens say who an agent is.
create table trusted_issuers (
  id          text primary key,
  name        text not null,
  issuer      text not null,
  audience    text not null,
  -- Neither: its keys are found by discovery.
  jwks        jsonb,
  jwks_uri    text,
  claims      jsonb not null,
  -- Who ever registered or changed it, and could sign as any of its agents since.
  controllers text[] not null,
  created_at  timestamptz not null,
  created_by  text not null,
  updated_at  timestamptz not null,
  updated_by  text not null,
  deleted_at  timestamptz,
  check (num_nonnulls(jwks, jwks_uri) <= 1)
);
create unique index trusted_issuers_issuer on trusted_issuers (issuer) where deleted_at is null;

-- What an agent proves itself by is a secret, or keys (its own or where to read them), or who it is to a trusted issuer;
-- like a secret, none is ever changed: others take their place.
alter table agent_secrets alter column secret_hash drop not null;
alter table agent_secrets add column jwks jsonb;
alter table agent_secrets add column jwks_uri text;
alter table agent_secrets add column trusted_issuer_id text references trusted_issuers;
alter table agent_secrets add column subject text;
alter table agent_secrets add column claims jsonb;
alter table agent_secrets add constraint agent_secrets_one_proof check (
  num_nonnulls(secret_hash, jwks, jwks_uri, subject) = 1 and num_nonnulls(trusted_issuer_id, subject, claims) in (0, 3));
create unique index agent_secrets_without_secret on agent_secrets (client_id) where revoked_at is null and secret_hash is null;
-- Whoever an issuer speaks of is one agent.
create unique index agent_secrets_one_subject on agent_secrets (trusted_issuer_id, subject) where revoked_at is null;

-- One-time values that were used (RFC 7523 section 3, RFC 9449 section 11.1), by the end of what they came in.
create table used_values (
  purpose  text not null check (purpose in ('client_assertion', 'dpop_proof')),
  issuer   text not null,
  jti      text not null,
  exp      timestamptz not null,
  primary key (purpose, issuer, jti, exp)
) partition by range (exp);

-- Tokens that are bound to a key (RFC 9449 section 6): its thumbprint.
alter table tokens add column jkt text;
alter table agents add column require_bound_tokens boolean not null default false;
alter table resources add column require_bound_tokens boolean not null default false;

-- As before, with the used values by day, too.
create or replace function ensure_partitions(p_from timestamptz, p_until timestamptz)
returns integer language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '3s' set timezone = 'UTC' as $$
declare
  made integer := 0;
  bound timestamptz;
begin
  if p_until < p_from or p_until - p_from > interval '62 days' then
    raise exception 'a range of at most 62 days' using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtext('hallpass.partitions'));
  for bound in select generate_series(date_trunc('day', p_from), p_until, interval '1 day') loop
    made := made + public.add_partition('tokens'::text, to_char(bound, 'YYYYMMDD'), bound, bound + interval '1 day')
      + public.add_partition('used_values'::text, to_char(bound, 'YYYYMMDD'), bound, bound + interval '1 day');
  end loop;
  for bound in select generate_series(date_trunc('month', p_from), p_until, interval '1 month') loop
    made := made + public.add_partition('audit_events'::text, to_char(bound, 'YYYYMM'), bound, bound + interval '1 month');
  end loop;
  return made;
end $$;

-- As before; used values, like tokens, go a day after their end, which is long after anybody takes them.
create or replace function drop_partitions(p_now timestamptz)
returns integer language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '3s' set timezone = 'UTC' as $$
declare
  present timestamptz := least(p_now, clock_timestamp());
  dropped integer := 0;
  child record;
begin
  perform pg_advisory_xact_lock(hashtext('hallpass.partitions'));
  for child in
    select p.relname as parent, c.relname as name,
           (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)'))[1]::timestamptz as upper_bound
      from pg_inherits i
      join pg_class c on c.oid = i.inhrelid
      join pg_class p on p.oid = i.inhparent
     where i.inhparent in ('public.tokens'::regclass, 'public.used_values'::regclass, 'public.audit_events'::regclass)
       and c.relkind = 'r'
     order by c.relname
  loop
    if child.upper_bound < present
        - (case child.parent when 'audit_events' then interval '400 days' else interval '1 day' end) then
      execute format('drop table public.%I', child.name);
      dropped := dropped + 1;
    end if;
  end loop;
  return dropped;
end $$;

create or replace function grant_application_role(p_role name) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  -- Two that grant on one table at the same time fail with "tuple concurrently updated".
  perform pg_advisory_xact_lock(hashtext('hallpass.grants'));
  execute format('grant usage on schema public to %I', p_role);
  execute format('grant select on public.migrations, public.audit_order to %I', p_role);
  execute format('grant select, insert, update on public.admins, public.admin_keys, public.agents, public.agent_secrets,
    public.resources, public.resource_secrets, public.policies, public.grants, public.signing_keys, public.jobs,
    public.trusted_issuers to %I', p_role);
  execute format('grant select, insert on public.bootstrap, public.policy_versions, public.approvals,
    public.used_values to %I', p_role);
  -- Not tx: nobody chooses a place in the record.
  execute format('grant select, insert (id, at, type, outcome, actor_kind, actor_id, actor_key_id, agent_id, grant_id,
    object_id, request_id, source_ip, details) on public.audit_events to %I', p_role);
  execute format('grant select, insert, update on public.master_key_check to %I', p_role);
  execute format('grant select, update on public.policy_epoch to %I', p_role);
  execute format('grant select, insert, delete on public.idempotency_keys to %I', p_role);
  execute format('grant select, insert, update, delete on public.job_runs, public.ended_epochs to %I', p_role);
  execute format('grant select, insert on public.tokens to %I', p_role);
  execute format('grant update (revoked_at) on public.tokens to %I', p_role);
  execute format('grant execute on function public.ensure_partitions, public.drop_partitions,
    public.continue_audit_order to %I', p_role);
end $$;

-- Whoever proves itself without a secret never does by one again.
create function keep_without_secret() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if old.token_endpoint_auth_method in ('private_key_jwt', 'federated_jwt')
    and new.token_endpoint_auth_method not in ('private_key_jwt', 'federated_jwt') then
    raise exception 'agent % proves itself without a secret', old.id using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger agents_keep_without_secret before update of token_endpoint_auth_method on agents
  for each row execute function keep_without_secret();

create function refuse_secret() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from public.agents a where a.id = new.client_id
      and a.token_endpoint_auth_method in ('private_key_jwt', 'federated_jwt')) then
    raise exception 'agent % proves itself without a secret', new.client_id using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger agent_secrets_refused before insert or update of secret_hash on agent_secrets
  for each row when (new.secret_hash is not null) execute function refuse_secret();
