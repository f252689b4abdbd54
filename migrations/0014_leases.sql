-- Targets, in which the broker makes accounts for agents, and the leases under which it makes them.

-- Account names carry this id, so that two brokers never take each other's accounts at one target for their own.
create table installation (
  is_only  boolean primary key default true check (is_only),
  id       text not null check (id ~ '^[a-z0-9]{8}$')
);
insert into installation (id) values (substr(replace(gen_random_uuid()::text, '-', ''), 1, 8));

-- How a target is reached and administered. Another connection is another row, and a lease ends through the connection
-- through which it was made. The resource may not exist yet, because its connection is tested first.
create table connections (
  id               text primary key,
  resource_id      text not null,
  kind             text not null check (kind in ('postgres', 'mysql', 'redis', 'rabbitmq')),
  host             text not null,
  port             integer not null check (port between 1 and 65535),
  database         text,
  username         text not null,
  password_sealed  bytea not null,
  tls_mode         text not null check (tls_mode in ('verify', 'off')),
  tls_ca           text,
  replicas         jsonb not null check (jsonb_typeof(replicas) = 'array'),
  endpoint         jsonb not null check (jsonb_typeof(endpoint) = 'object'),
  owned_objects    text not null check (owned_objects in ('keep', 'drop')),
  created_at       timestamptz not null,
  created_by       text not null
);
create index connections_resource on connections (resource_id);
alter table resources add column connection_id text references connections;

-- The last test of a target. While `problems` is not empty, no lease is made.
alter table resources add column preflight_at timestamptz;
alter table resources add column preflight_problems jsonb not null default '[]' check (jsonb_typeof(preflight_problems) = 'array');

-- The accounts with which targets are tested. A row exists as long as its account may exist.
create table preflights (
  account_name     text primary key,
  connection_id    text not null references connections,
  deadline_at      timestamptz not null,
  attempts         integer not null default 0,
  next_attempt_at  timestamptz not null,
  last_error       text
);
create index preflights_connection on preflights (connection_id);

create table leases (
  id                  text primary key,
  grant_id            text not null references grants,
  agent_id            text not null references agents,
  resource_id         text not null references resources,
  -- Its connection exists as long as the account may exist.
  connection_id       text not null,
  account_name        text not null unique check (account_name ~ '^[a-z0-9_]{1,32}$'),
  status              text not null check (status in ('creating', 'active', 'revoking', 'revoked')),
  created_at          timestamptz not null,
  -- After this instant no process makes the account any more.
  create_deadline_at  timestamptz not null,
  -- When the account was made; null if it was not.
  activated_at        timestamptz,
  expires_at          timestamptz not null,
  revoked_at          timestamptz,
  revoked_by          text,
  revoke_reason       text,
  -- When the target had taken the login and every privilege from the account and had ended its sessions.
  access_disabled_at  timestamptz,
  -- When the account was gone, read back from the target.
  cleaned_up_at       timestamptz,
  owned_objects       text[] not null default '{}',
  attempts            integer not null default 0,
  -- When a worker looks at the lease again; null once its account is gone.
  next_attempt_at     timestamptz,
  last_error          text,
  check ((next_attempt_at is null) = (cleaned_up_at is not null)),
  check ((status in ('revoking', 'revoked')) = (revoked_at is not null)),
  check (status <> 'active' or activated_at is not null),
  check (status <> 'revoked' or access_disabled_at is not null),
  check (cleaned_up_at is null or (status = 'revoked' and access_disabled_at is not null))
);
-- Access ends before anything is cleaned up, so each has a queue of its own.
create index leases_to_disable on leases (connection_id, next_attempt_at) where access_disabled_at is null;
create index leases_to_clean_up on leases (connection_id, next_attempt_at)
  where access_disabled_at is not null and cleaned_up_at is null;
-- The account of such a lease exists, or may exist.
create index leases_open on leases (resource_id, agent_id) where cleaned_up_at is null;
create index leases_connection on leases (connection_id, status) where cleaned_up_at is null;
create index leases_status on leases (status, id) where cleaned_up_at is null;
create index leases_resource on leases (resource_id, id);
create index leases_usable on leases (id) where status in ('creating', 'active');
create index leases_agent on leases (agent_id, id);
create index leases_grant on leases (grant_id);

-- Ended stays ended, and what has happened stays so.
create function keep_lease_states() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (old.status, new.status) not in (('creating', 'creating'), ('creating', 'active'), ('creating', 'revoking'),
      ('active', 'active'), ('active', 'revoking'), ('revoking', 'revoking'), ('revoking', 'revoked'), ('revoked', 'revoked'))
    or new.access_disabled_at is distinct from coalesce(old.access_disabled_at, new.access_disabled_at)
    or new.cleaned_up_at is distinct from coalesce(old.cleaned_up_at, new.cleaned_up_at)
    or (new.activated_at is distinct from old.activated_at and (old.status, new.status) <> ('creating', 'active'))
    or (new.expires_at <> old.expires_at and (old.status, new.status) <> ('active', 'active'))
    or ((new.revoked_at, new.revoked_by, new.revoke_reason)
      is distinct from (old.revoked_at, old.revoked_by, old.revoke_reason) and old.status in ('revoking', 'revoked'))
    or (new.account_name, new.connection_id, new.grant_id, new.agent_id, new.resource_id, new.created_at, new.create_deadline_at)
      is distinct from (old.account_name, old.connection_id, old.grant_id, old.agent_id, old.resource_id, old.created_at,
        old.create_deadline_at) then
    raise exception 'lease % cannot change from % to % like this', old.id, old.status, new.status
      using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger leases_states before update on leases for each row execute function keep_lease_states();
