-- What the database itself refuses, and the few things the application role may do only through a function.
-- Every function sets its search_path to the system's own schema (CVE-2018-1058): no session and nobody who may create
-- in a schema can put another function, operator or cast in the place of one that is meant here.

-- Caches compare versions, so every change must raise the version.
create function raise_version() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.version := old.version + 1;
  return new;
end $$;
create trigger agents_version before update on agents for each row execute function raise_version();
create trigger resources_version before update on resources for each row execute function raise_version();
create trigger grants_version before update on grants for each row execute function raise_version();

-- An epoch only rises: what was issued under an older one is dead for ever.
create function keep_epoch_rising() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
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
create function keep_ended() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if old.status in ('denied', 'cancelled', 'lapsed', 'expired', 'revoked', 'returned') then
    raise exception 'grant % has ended as %', old.id, old.status using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger grants_ended before update on grants for each row execute function keep_ended();

create function keep_revoked() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
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
returns integer language plpgsql set search_path = pg_catalog, pg_temp as $$
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
    made := made + public.add_partition('tokens'::text, to_char(bound, 'YYYYMMDD'), bound, bound + interval '1 day');
  end loop;
  for bound in select generate_series(date_trunc('month', p_from), p_until, interval '1 month') loop
    made := made + public.add_partition('audit_events'::text, to_char(bound, 'YYYYMM'), bound, bound + interval '1 month');
  end loop;
  return made;
end $$;
revoke execute on function ensure_partitions from public;

-- Drops partitions of which every row is past its retention (tokens 1 day after expiry, audit events 400 days)
-- by p_now and by the database's own clock: a wrong application clock cannot delete history.
create function drop_partitions(p_now timestamptz)
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

-- Whether the next event would not stand behind every other: the database was restored into a cluster whose
-- transactions are counted from a lower number.
create function audit_order_is_broken() returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  this_tx bigint := pg_current_xact_id()::text::bigint;
  next_tx bigint;
  broken boolean;
begin
  execute 'select ' || (
    select pg_get_expr(d.adbin, d.adrelid)
      from pg_attrdef d
      join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
     where d.adrelid = 'public.audit_events'::regclass and a.attname = 'tx') into next_tx;
  -- Of one snapshot: whatever it sees that is not of this transaction has a number below its xmax.
  select next_tx - this_tx <> o.tx_offset
      or coalesce((select max(e.tx) from public.audit_events e), 0)
         >= o.tx_offset + greatest(this_tx + 1, pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
    into broken from public.audit_order o;
  return broken;
end $$;
revoke execute on function audit_order_is_broken from public;

-- Makes what is recorded from now on stand behind everything that is recorded, if it would not; answers whether it had to.
-- Changing the default waits for every transaction that has written an event and lets none begin until this one has
-- committed. So nobody is still writing with the old offset when a reader knows the new one: it passes nobody.
create function continue_audit_order() returns boolean language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '3s' as $$
declare
  new_offset bigint;
begin
  -- One at a time: two that have read the table, here or for its partitions, would wait for each other's lock on it.
  perform pg_advisory_xact_lock(hashtext('hallpass.partitions'));
  if not public.audit_order_is_broken() then
    return false;
  end if;
  update public.audit_order o
     set tx_offset = greatest(o.tx_offset, (select coalesce(max(e.tx), 0) from public.audit_events e))
    returning o.tx_offset into new_offset;
  execute format('alter table public.audit_events alter column tx set default pg_current_xact_id()::text::bigint + %s',
    new_offset);
  return true;
end $$;
revoke execute on function continue_audit_order from public;

-- About where in the record p_at is: of the events up to the answer most are older, of those behind it most are not.
-- Times follow the order of the record as far as clocks agreed, so this is where to look first, and no more than that.
create function audit_position(p_at timestamptz) returns bigint language plpgsql stable strict
set search_path = pg_catalog, pg_temp as $$
declare
  low bigint := coalesce((select min(e.tx) from public.audit_events e), 0);
  high bigint := coalesce((select max(e.tx) from public.audit_events e), 0);
  middle bigint;
  probe record;
begin
  while low < high loop
    middle := low + (high - low) / 2;
    select e.tx, e.at into probe from public.audit_events e where e.tx > middle order by e.tx, e.id limit 1;
    if probe.at < p_at then
      low := probe.tx;
    else
      high := middle;
    end if;
  end loop;
  return low;
end $$;

-- Gives the application role what the broker needs and nothing else. Run after every migration, so a later
-- migration that adds a table replaces this function.
create function grant_application_role(p_role name) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  -- Two that grant on one table at the same time fail with "tuple concurrently updated".
  perform pg_advisory_xact_lock(hashtext('hallpass.grants'));
  execute format('grant usage on schema public to %I', p_role);
  execute format('grant select on public.migrations, public.audit_order to %I', p_role);
  execute format('grant select, insert, update on public.admins, public.admin_keys, public.agents, public.agent_secrets,
    public.resources, public.resource_secrets, public.policies, public.grants, public.signing_keys, public.jobs to %I', p_role);
  execute format('grant select, insert on public.bootstrap, public.policy_versions, public.approvals to %I', p_role);
  -- Not tx: nobody chooses a place in the record.
  execute format('grant select, insert (id, at, type, outcome, actor_kind, actor_id, actor_key_id, agent_id, grant_id,
    object_id, request_id, source_ip, details) on public.audit_events to %I', p_role);
  execute format('grant select, insert, update on public.master_key_check to %I', p_role);
  execute format('grant select, update on public.policy_epoch to %I', p_role);
  execute format('grant select, insert, delete on public.idempotency_keys to %I', p_role);
  execute format('grant select, insert, update, delete on public.job_runs to %I', p_role);
  execute format('grant select, insert on public.tokens to %I', p_role);
  execute format('grant update (revoked_at) on public.tokens to %I', p_role);
  execute format('grant execute on function public.ensure_partitions, public.drop_partitions,
    public.continue_audit_order to %I', p_role);
end $$;
revoke execute on function grant_application_role from public;
