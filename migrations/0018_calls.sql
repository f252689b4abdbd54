-- Calls through the gateway. A row is committed before the upstream is reached, and its outcome is written afterwards.
create table calls (
  id               text primary key,
  request_id       text not null,
  at               timestamptz not null,
  grant_id         text not null references grants,
  agent_id         text not null references agents,
  token_id         text not null,
  -- The claim `act` of the token (RFC 8693 section 4.1); null if it was not delegated.
  actors           jsonb,
  resource_id      text not null references resources,
  -- The scope whose route permitted the call.
  scope            text not null,
  method           text not null,
  -- Without the query, which may contain secrets.
  path             text not null,
  -- Null while the call is in progress, and permanently if its end could not be written, for example because its replica was killed.
  ended_at         timestamptz,
  outcome          text check (outcome in ('completed', 'failed', 'disconnected', 'grant-ended', 'state-unknown')),
  upstream_status  integer,
  request_bytes    bigint,
  request_sha256   bytea,
  response_bytes   bigint,
  response_sha256  bytea,
  check ((ended_at is null) = (outcome is null))
);
create index calls_grant on calls (grant_id, id);
create index calls_agent on calls (agent_id, id);
create index calls_resource on calls (resource_id, id);

-- The application cannot change what a call was, nor its outcome once it is written.
create function keep_calls() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if old.ended_at is not null then
    raise exception 'the outcome of call % is final', old.id using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger keep_calls before update on calls for each row execute function keep_calls();
