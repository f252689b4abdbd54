-- People, agents, resources, policies, grants and tokens.
-- Times come from the application as parameters; no column defaults to the database's clock.

create table admins (
  id          text primary key,
  name        text not null,
  email       text not null check (email = lower(email)),
  roles       text[] not null check (roles <@ array['admin', 'approver', 'auditor']),
  groups      text[] not null,
  created_at  timestamptz not null,
  created_by  text,
  updated_at  timestamptz not null,
  deleted_at  timestamptz
);
-- An address is free again once its person is deleted; an id never is.
create unique index admins_email on admins (email) where deleted_at is null;

create table admin_keys (
  id            text primary key,
  admin_id      text not null references admins,
  name          text not null,
  key_hash      bytea not null unique check (octet_length(key_hash) = 32),
  issued_by     text,
  created_at    timestamptz not null,
  expires_at    timestamptz not null,
  revoked_at    timestamptz,
  last_used_at  timestamptz
);
create index admin_keys_admin on admin_keys (admin_id);

-- The bootstrap admin key works once, ever: this row is its memory.
create table bootstrap (
  singleton  boolean primary key default true check (singleton),
  admin_id   text not null references admins,
  at         timestamptz not null
);

create table agents (
  id                          text primary key,
  name                        text not null,
  owner_id                    text not null references admins,
  environment                 text not null check (environment in ('production', 'staging', 'development')),
  token_endpoint_auth_method  text not null check (token_endpoint_auth_method in ('client_secret_basic', 'client_secret_post')),
  labels                      text[] not null,
  epoch                       bigint not null default 1,
  version                     bigint not null default 1,
  created_at                  timestamptz not null,
  created_by                  text not null,
  updated_at                  timestamptz not null,
  expires_at                  timestamptz,
  disabled_at                 timestamptz,
  deleted_at                  timestamptz
);
create index agents_owner on agents (owner_id);

create table agent_secrets (
  id           text primary key,
  client_id    text not null references agents,
  secret_hash  bytea not null check (octet_length(secret_hash) = 32),
  issued_by    text not null,
  created_at   timestamptz not null,
  expires_at   timestamptz,
  revoked_at   timestamptz
);
create index agent_secrets_client on agent_secrets (client_id);

create table resources (
  id                 text primary key,
  -- Unique also among deleted resources: an identifier is never reused.
  identifier         text not null unique,
  name               text not null,
  kind               text not null check (kind in ('api', 'postgres', 'mysql', 'redis', 'rabbitmq')),
  labels             text[] not null,
  scopes             jsonb not null,
  max_grant_seconds  integer not null check (max_grant_seconds > 0),
  token_ttl_seconds  integer not null check (token_ttl_seconds between 60 and 900),
  token_alg          text not null check (token_alg in ('ES256', 'RS256', 'EdDSA')),
  epoch              bigint not null default 1,
  version            bigint not null default 1,
  created_at         timestamptz not null,
  created_by         text not null,
  updated_at         timestamptz not null,
  deleted_at         timestamptz
);

create table resource_secrets (
  id           text primary key,
  client_id    text not null references resources,
  secret_hash  bytea not null check (octet_length(secret_hash) = 32),
  issued_by    text not null,
  created_at   timestamptz not null,
  expires_at   timestamptz,
  revoked_at   timestamptz
);
create index resource_secrets_client on resource_secrets (client_id);

create table policies (
  id          text primary key,
  name        text not null,
  version     integer not null,
  created_at  timestamptz not null,
  updated_at  timestamptz not null,
  deleted_at  timestamptz
);
create unique index policies_name on policies (name) where deleted_at is null;

create table policy_versions (
  policy_id   text not null references policies,
  version     integer not null,
  cedar       text not null,
  created_at  timestamptz not null,
  created_by  text not null,
  primary key (policy_id, version)
);

-- Raised by every change of the policy set; whoever decides says under which epoch.
create table policy_epoch (
  singleton  boolean primary key default true check (singleton),
  epoch      bigint not null
);
insert into policy_epoch (epoch) values (1);

create table grants (
  id                          text primary key,
  agent_id                    text not null references agents,
  resource_id                 text not null references resources,
  status                      text not null check (status in
    ('pending', 'scheduled', 'active', 'denied', 'cancelled', 'lapsed', 'expired', 'revoked', 'returned')),
  version                     bigint not null default 1,
  requested_scopes            text[] not null check (cardinality(requested_scopes) > 0),
  requested_duration_seconds  integer not null check (requested_duration_seconds > 0),
  scopes                      text[] not null check (cardinality(scopes) > 0 and scopes <@ requested_scopes),
  duration_seconds            integer not null check (duration_seconds between 1 and requested_duration_seconds),
  reason                      text not null,
  ticket                      text,
  request_digest              text not null,
  request_facts               jsonb not null,
  approvals_required          integer not null check (approvals_required between 0 and 5),
  approval_facts              jsonb,
  decision_policies           jsonb not null,
  owner_at_request            text not null,
  agent_epoch                 bigint not null,
  resource_epoch              bigint not null,
  requested_at                timestamptz not null,
  lapses_at                   timestamptz not null,
  decided_at                  timestamptz,
  starts_at                   timestamptz,
  expires_at                  timestamptz,
  ended_at                    timestamptz,
  ended_by                    text,
  end_reason                  text,
  check (status not in ('scheduled', 'active') or
    (starts_at is not null and expires_at is not null and expires_at > starts_at and approval_facts is not null))
);
create index grants_due on grants (expires_at) where status in ('active', 'scheduled');
create index grants_lapsing on grants (lapses_at) where status = 'pending';
create index grants_agent on grants (agent_id, id);
create index grants_open on grants (agent_id, resource_id) where status in ('pending', 'scheduled', 'active');
create index grants_resource_open on grants (resource_id) where status in ('pending', 'scheduled', 'active');

create table approvals (
  id              text primary key,
  grant_id        text not null references grants,
  admin_id        text not null references admins,
  key_id          text not null references admin_keys,
  key_issued_by   text,
  request_digest  text not null,
  note            text,
  at              timestamptz not null,
  -- Nobody counts twice.
  unique (grant_id, admin_id)
);

create table idempotency_keys (
  caller      text not null,
  route       text not null,
  key         text not null,
  body_hash   bytea not null check (octet_length(body_hash) = 32),
  object_id   text not null,
  created_at  timestamptz not null,
  primary key (caller, route, key)
);
create index idempotency_keys_created on idempotency_keys (created_at);

create table signing_keys (
  kid             text primary key,
  alg             text not null check (alg in ('ES256', 'RS256', 'EdDSA')),
  state           text not null check (state in ('prepared', 'active', 'retiring', 'retired', 'compromised')),
  public_jwk      jsonb not null,
  private_sealed  bytea not null,
  created_at      timestamptz not null,
  activated_at    timestamptz,
  retiring_at     timestamptz,
  retired_at      timestamptz,
  compromised_at  timestamptz
);
-- Two replicas that rotate at once make one key.
create unique index signing_keys_one_active on signing_keys (alg) where state = 'active';
create unique index signing_keys_one_prepared on signing_keys (alg) where state = 'prepared';

-- A known text sealed under the master key: opening it at start tells a wrong key before it does harm.
create table master_key_check (
  singleton  boolean primary key default true check (singleton),
  sealed     bytea not null
);

-- No foreign keys on tokens and audit_events: they cost WAL per row and lock rows that many requests share.
create table tokens (
  jti             text not null,
  exp             timestamptz not null,
  iat             timestamptz not null,
  agent_id        text not null,
  agent_epoch     bigint not null,
  secret_id       text,
  -- How the agent proved itself: policy sees it when a broker token is used.
  auth_method     text not null,
  grant_id        text,
  resource_id     text,
  resource_epoch  bigint,
  scopes          text[] not null,
  kid             text not null,
  revoked_at      timestamptz,
  primary key (jti, exp),
  check ((grant_id is null) = (resource_id is null) and (grant_id is null) = (resource_epoch is null))
) partition by range (exp);

-- What the transaction numbers of this cluster are moved up by. A database that was restored into another cluster meets a
-- counter that begins anew; continue_audit_order() then raises this, so that the record goes on behind its end.
create table audit_order (
  singleton  boolean primary key default true check (singleton),
  tx_offset  bigint not null
);
insert into audit_order (tx_offset) values (0);

create table audit_events (
  -- Bytewise: the broker sorts ids as this column does.
  id            text collate "C" not null,
  at            timestamptz not null,
  -- The order that readers page by: the number of the transaction plus audit_order.tx_offset, which is a constant in
  -- this default, since a function would be called for every token. Events of a transaction older than every running
  -- one cannot be joined by earlier ones.
  tx            bigint not null default pg_current_xact_id()::text::bigint + 0,
  type          text not null,
  outcome       text not null check (outcome in ('success', 'denied')),
  actor_kind    text not null check (actor_kind in ('person', 'agent', 'resource', 'system')),
  actor_id      text not null,
  actor_key_id  text,
  agent_id      text,
  grant_id      text,
  object_id     text,
  request_id    text,
  source_ip     text,
  details       jsonb not null
) partition by range (at);
create index audit_events_order on audit_events (tx, id);
create index audit_events_agent on audit_events (agent_id, tx, id) where agent_id is not null;
create index audit_events_grant on audit_events (grant_id, tx, id) where grant_id is not null;
create index audit_events_type on audit_events (type, tx, id) where type <> 'token.issued';
-- Finds events whose time does not fit their place (a clock that was wrong), and costs an insert next to nothing.
create index audit_events_time on audit_events using brin (at, tx) with (autosummarize = on);

create table jobs (
  name                  text primary key,
  fencing               bigint not null default 0,
  holder                text,
  lease_expires_at      timestamptz,
  last_slot             timestamptz,
  last_started_at       timestamptz,
  last_finished_at      timestamptz,
  last_duration_ms      integer,
  last_rows             integer,
  last_error            text,
  consecutive_failures  integer not null default 0
);

create table job_runs (
  job          text not null references jobs,
  slot         timestamptz not null,
  fencing      bigint not null,
  started_at   timestamptz not null,
  finished_at  timestamptz,
  rows         integer,
  error        text,
  -- A slot runs once, whatever the clocks of the replicas do.
  primary key (job, slot)
);
create index job_runs_started on job_runs (started_at);
