-- What the database itself refuses, and the few things the application role may do only through a function.

-- Caches compare versions, so every change must raise the version.
create function raise_version() returns trigger language plpgsql as $$
begin
  new.version := old.version + 1;
  return new;
end $$;
create trigger agents_version before update on agents for each row execute function raise_version();
create trigger resources_version before update on resources for each row execute function raise_version();
create trigger grants_version before update on grants for each row execute function raise_version();

-- An epoch only rises: what was issued under an older one is dead for ever.
create function keep_epoch_rising() returns trigger language plpgsql as $$
begin
  if new.epoch < old.epoch then
    raise exception 'an epoch only rises' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger agents_epoch before update of epoch on agents for each row execute function keep_epoch_rising();
create trigger resources_epoch before update of epoch on resources for each row execute function keep_epoch_rising();
create trigger policy_epoch_rises before update of epoch on policy_epoch for each row execute function keep_epoch_rising();

-- Ended stays ended.
create function keep_ended() returns trigger language plpgsql as $$
begin
  if old.status in ('denied', 'cancelled', 'lapsed', 'expired', 'revoked', 'returned') then
    raise exception 'grant % has ended as %', old.id, old.status using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger grants_ended before update on grants for each row execute function keep_ended();

create function keep_revoked() returns trigger language plpgsql as $$
begin
  if old.revoked_at is not null and new.revoked_at is distinct from old.revoked_at then
    raise exception 'revoked stays revoked' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger tokens_revoked before update on tokens for each row execute function keep_revoked();
create trigger agent_secrets_revoked before update on agent_secrets for each row execute function keep_revoked();
create trigger resource_secrets_revoked before update on resource_secrets for each row execute function keep_revoked();
create trigger admin_keys_revoked before update on admin_keys for each row execute function keep_revoked();

-- Partitions: tokens by day of expiry, audit events by month. There is no default partition, so a row
-- without one fails (23514) instead of landing where nothing would ever drop it.
-- A partition is built beside its parent and attached: creating it in place would lock out readers.
create function add_partition(parent text, suffix text, lower_bound timestamptz, upper_bound timestamptz)
returns integer language plpgsql as $$
declare
  child text := parent || '_' || suffix;
begin
  if to_regclass('public.' || child) is not null then
    return 0;
  end if;
  execute format('create table public.%I (like public.%I including all)', child, parent);
  execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)',
    parent, child, lower_bound, upper_bound);
  return 1;
end $$;
revoke execute on function add_partition from public;

-- Makes the partitions that hold the instants from p_from to p_until; answers how many it made.
create function ensure_partitions(p_from timestamptz, p_until timestamptz)
returns integer language plpgsql security definer
set search_path = pg_catalog, public, pg_temp set lock_timeout = '3s' set timezone = 'UTC' as $$
declare
  made integer := 0;
  bound timestamptz;
begin
  if p_until < p_from or p_until - p_from > interval '62 days' then
    raise exception 'a range of at most 62 days' using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtext('hallpass.partitions'));
  for bound in select generate_series(date_trunc('day', p_from), p_until, interval '1 day') loop
    made := made + public.add_partition('tokens', to_char(bound, 'YYYYMMDD'), bound, bound + interval '1 day');
  end loop;
  for bound in select generate_series(date_trunc('month', p_from), p_until, interval '1 month') loop
    made := made + public.add_partition('audit_events', to_char(bound, 'YYYYMM'), bound, bound + interval '1 month');
  end loop;
  return made;
end $$;
revoke execute on function ensure_partitions from public;

-- Drops partitions of which every row is past its retention (tokens 1 day after expiry, audit events 400 days)
-- by p_now and by the database's own clock: a wrong application clock cannot delete history.
create function drop_partitions(p_now timestamptz)
returns integer language plpgsql security definer
set search_path = pg_catalog, public, pg_temp set lock_timeout = '3s' set timezone = 'UTC' as $$
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
     where i.inhparent in ('public.tokens'::regclass, 'public.audit_events'::regclass)
       and c.relkind = 'r'
     order by c.relname
  loop
    if child.upper_bound < present - (case child.parent when 'tokens' then interval '1 day' else interval '400 days' end) then
      execute format('drop table public.%I', child.name);
      dropped := dropped + 1;
    end if;
  end loop;
  return dropped;
end $$;
revoke execute on function drop_partitions from public;

-- Gives the application role what the broker needs and nothing else. Run after every migration, so a later
-- migration that adds a table replaces this function.
create function grant_application_role(p_role name) returns void language plpgsql as $$
begin
  execute format('grant usage on schema public to %I', p_role);
  execute format('grant select on migrations to %I', p_role);
  execute format('grant select, insert, update on admins, admin_keys, agents, agent_secrets, resources,
    resource_secrets, policies, grants, signing_keys, jobs to %I', p_role);
  execute format('grant select, insert on bootstrap, policy_versions, approvals, audit_events to %I', p_role);
  execute format('grant select, insert, update on master_key_check to %I', p_role);
  execute format('grant select, update on policy_epoch to %I', p_role);
  execute format('grant select, insert, delete on idempotency_keys to %I', p_role);
  execute format('grant select, insert, update, delete on job_runs to %I', p_role);
  execute format('grant select, insert on tokens to %I', p_role);
  execute format('grant update (revoked_at) on tokens to %I', p_role);
  execute format('grant execute on function ensure_partitions, drop_partitions to %I', p_role);
end $$;
