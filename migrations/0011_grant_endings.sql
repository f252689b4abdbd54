-- Endings that have taken effect, with grants that are not yet written as ended or lack their
-- audit event. The transaction that ends the grants inserts the row; the last batch deletes it.
create table grant_endings (
  id            text primary key,
  kind          text not null check (kind in ('grant', 'agent', 'resource', 'catalogue', 'subject_token',
    'tokens_of_agent', 'tokens_for_resource', 'tokens_signed_by', 'tokens_by_issuer', 'derived')),
  -- The id of the selected grant, agent, resource or trusted issuer, a jti or a kid; empty for `derived`.
  subject_id    text not null,
  -- The object_id of the audit events.
  object_id     text,
  reason        text not null,
  at            timestamptz not null,
  actor_kind    text not null,
  actor_id      text not null,
  actor_key_id  text,
  request_id    text,
  source_ip     text,
  -- The id of the last settled grant, in the order of ids.
  after_id      text not null default '',
  attempts         integer not null default 0,
  next_attempt_at  timestamptz not null,
  last_error       text
);

-- The ending that wrote a grant as ended; null if a decision about this grant or its own time ended it.
alter table grants add column ending_id text;
create index grants_ending on grants (ending_id, id) where ending_id is not null;
-- Every open delegated grant, in the order of ids.
create index grants_derived_open on grants (id) where ancestors <> '{}' and status in ('pending', 'scheduled', 'active');
