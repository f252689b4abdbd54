-- The readers of the audit log, each with its own position in the order of the log.
create table feeds (
  name             text primary key,
  -- The position of the last event that the feed has read; (0, '') before the first one.
  tx               bigint not null,
  event_id         text collate "C" not null,
  started_at       timestamptz not null,
  read_at          timestamptz,
  -- Failures since the last success, and the time of the next attempt.
  attempts         integer not null default 0 check (attempts >= 0),
  last_error       text,
  next_attempt_at  timestamptz,
  -- The times of the first and the last event of the latest gap: events that retention dropped before
  -- the feed had read them. gap_reported_at is null until the handler of the feed has handled the gap.
  gap_from         timestamptz,
  gap_until        timestamptz,
  gap_reported_at  timestamptz,
  -- How many partitions were dropped before the feed had read them to their end.
  gaps             integer not null default 0,
  check ((attempts = 0) = (next_attempt_at is null)),
  check ((gap_from is null) = (gap_until is null))
);

-- Records a gap for each feed that has not read the partition to its end.
create function record_feed_gaps(p_partition name) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  feed record;
  first_at timestamptz;
  last_at timestamptz;
begin
  -- The lock waits for a batch in progress, and keeps out further batches until the partition is gone.
  for feed in select f.name, f.tx, f.event_id from public.feeds f order by f.name for no key update loop
    execute format('select e.at from public.%I e where (e.tx, e.id) > ($1, $2) order by e.tx, e.id limit 1', p_partition)
      into first_at using feed.tx, feed.event_id;
    continue when first_at is null;
    execute format('select e.at from public.%I e where (e.tx, e.id) > ($1, $2) order by e.tx desc, e.id desc limit 1',
      p_partition) into last_at using feed.tx, feed.event_id;
    update public.feeds f
       set gaps = f.gaps + 1,
           gap_from = least(first_at, last_at, case when f.gap_reported_at is null then f.gap_from end),
           gap_until = greatest(first_at, last_at, case when f.gap_reported_at is null then f.gap_until end),
           gap_reported_at = null
     where f.name = feed.name;
  end loop;
end $$;
revoke execute on function record_feed_gaps from public;

-- Replaces the earlier version. Records a gap for each feed before it drops a partition of the audit log.
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
      if child.parent = 'audit_events' then
        perform public.record_feed_gaps(child.name);
      end if;
      execute format('drop table public.%I', child.name);
      dropped := dropped + 1;
    end if;
  end loop;
  return dropped;
end $$;

-- The greatest position of an event or a feed. Every event that is appended next must have a greater one.
create function audit_order_end() returns bigint language sql stable
set search_path = pg_catalog, pg_temp as $$
  select greatest((select max(e.tx) from public.audit_events e), (select max(f.tx) from public.feeds f), 0)
$$;
revoke execute on function audit_order_end from public;

-- As before, and new events also follow the positions of feeds, whose last event retention may have dropped.
create or replace function audit_order_is_broken() returns boolean language plpgsql
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
  -- One snapshot: every event in it that is not of this transaction has a transaction id below its xmax.
  select next_tx - this_tx <> o.tx_offset
      or public.audit_order_end()
         >= o.tx_offset + greatest(this_tx + 1, pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
    into broken from public.audit_order o;
  return broken;
end $$;

create or replace function continue_audit_order() returns boolean language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '3s' as $$
declare
  new_offset bigint;
begin
  -- One transaction at a time: two that have read the table, here or for partitions, would deadlock on its lock.
  perform pg_advisory_xact_lock(hashtext('hallpass.partitions'));
  if not public.audit_order_is_broken() then
    return false;
  end if;
  update public.audit_order o
     set tx_offset = greatest(o.tx_offset, public.audit_order_end())
    returning o.tx_offset into new_offset;
  execute format('alter table public.audit_events alter column tx set default pg_current_xact_id()::text::bigint + %s',
    new_offset);
  return true;
end $$;
