-- The password of an admin account in a target is replaced on schedule. The next password is stored before the target gets
-- it, so that no crash loses it: until one of the two has logged in after the change, both are kept.
alter table connections
  add column password_rotation_days integer check (password_rotation_days between 1 and 365),
  add column password_changed_at timestamptz not null default now(),
  add column pending_password_sealed bytea,
  -- When the last attempt to set the pending password began.
  add column pending_at timestamptz,
  -- When the first attempt failed of those since the last success.
  add column rotation_failed_at timestamptz,
  add check ((pending_password_sealed is null) = (pending_at is null));
create index connections_pending on connections (pending_at) where pending_at is not null;
