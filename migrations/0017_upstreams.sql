-- APIs behind the gateway: what calls to them need, and the credentials with which the gateway authenticates to them.
alter table resources drop constraint resources_kind_check;
alter table resources add constraint resources_kind_check
  check (kind in ('api', 'http', 'postgres', 'mysql', 'redis', 'rabbitmq'));

-- A row stays when its resource is deleted, so that no other resource ever has its slug.
create table upstreams (
  resource_id       text primary key references resources,
  slug              text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  base_url          text not null,
  protocol          text not null check (protocol in ('plain')),
  credential_type   text not null check (credential_type in ('bearer', 'header', 'basic', 'none')),
  -- The name of the header, or the username.
  credential_name   text check ((credential_name is not null) = (credential_type in ('header', 'basic'))),
  ca                text,
  connect_seconds   integer not null check (connect_seconds between 1 and 60),
  response_seconds  integer not null check (response_seconds between 1 and 600),
  idle_seconds      integer not null check (idle_seconds between 1 and 600)
);

-- An upstream has at most two credentials, one in each place. The one in use is the one that was activated last.
create table upstream_credentials (
  id             text primary key,
  resource_id    text not null references upstreams,
  place          integer not null check (place in (1, 2)),
  secret_sealed  bytea not null,
  activates_at   timestamptz not null,
  created_at     timestamptz not null,
  created_by     text not null,
  unique (resource_id, place)
);
