-- The owners of an agent and their periods: a recently replaced owner still controls what the agent requests.
create table agent_owners (
  id        bigint generated always as identity primary key,
  agent_id  text not null references agents,
  owner_id  text not null references admins,
  since     timestamptz not null,
  -- Null for the current owner.
  until     timestamptz,
  check (until >= since)
);
create unique index agent_owners_now on agent_owners (agent_id) where until is null;
create index agent_owners_agent on agent_owners (agent_id, until);

-- Of earlier owners only the last is known, whose period may be shorter than this: that permits no approval.
insert into agent_owners (agent_id, owner_id, since) select id, owner_id, created_at from agents order by id;

-- A trigger, so that no statement changes an owner without it, not even of a replica of the
-- previous version. It runs with the rights of the database owner, so that the application role
-- cannot rewrite the history. If a clock went back, a period still does not end before it began.
create function note_agent_owner() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' then
    update public.agent_owners set until = greatest(new.updated_at, since) where agent_id = new.id and until is null;
  end if;
  insert into public.agent_owners (agent_id, owner_id, since) values (new.id, new.owner_id, new.updated_at);
  return null;
end $$;
revoke execute on function note_agent_owner from public;
create trigger agents_owner_inserted after insert on agents for each row execute function note_agent_owner();
create trigger agents_owner_updated after update of owner_id on agents for each row
  when (new.owner_id is distinct from old.owner_id) execute function note_agent_owner();
