-- What ended a grant first, its own time or the epoch it was issued under, is told the same for ever, so both times must be
-- known: element n is the instant at which epoch n ended. What was raised before this migration is told by the last change.
alter table agents add column epoch_ends timestamptz[] not null default '{}';
alter table resources add column epoch_ends timestamptz[] not null default '{}';
update agents set epoch_ends = array_fill(updated_at, array[(epoch - 1)::integer]) where epoch > 1;
update resources set epoch_ends = array_fill(updated_at, array[(epoch - 1)::integer]) where epoch > 1;

-- Agents and resources whose epoch was raised, while grants from before it may not be written down as ended yet: the job
-- expire-grants looks at these alone.
create table ended_epochs (
  subject_id  text primary key,
  -- The one that is in force since.
  epoch       bigint not null
);
insert into ended_epochs select id, epoch from agents where epoch > 1 union all select id, epoch from resources where epoch > 1;

-- In the database, so that no statement raises an epoch without it, nor a replica of the version before.
create function note_epoch_end() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.epoch > old.epoch then
    for ended in old.epoch .. new.epoch - 1 loop
      new.epoch_ends[ended] := new.updated_at;
    end loop;
    insert into public.ended_epochs values (new.id, new.epoch)
      on conflict (subject_id) do update set epoch = excluded.epoch;
  end if;
  return new;
end $$;
create trigger agents_epoch_ends before update of epoch on agents for each row execute function note_epoch_end();
create trigger resources_epoch_ends before update of epoch on resources for each row execute function note_epoch_end();

-- The grants of a resource are walked in the order of their ids, however many there are.
drop index grants_resource_open;
create index grants_resource_open on grants (resource_id, id) where status in ('pending', 'scheduled', 'active');

create or replace function grant_application_role(p_role name) returns void language plpgsql
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
  execute format('grant select, insert, update, delete on public.job_runs, public.ended_epochs to %I', p_role);
  execute format('grant select, insert on public.tokens to %I', p_role);
  execute format('grant update (revoked_at) on public.tokens to %I', p_role);
  execute format('grant execute on function public.ensure_partitions, public.drop_partitions,
    public.continue_audit_order to %I', p_role);
end $$;
