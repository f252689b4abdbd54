-- When many leases are due, three statements read all of them for each batch. Few leases are being retried, so these get
-- an index of their own.
create index leases_tried on leases (connection_id, next_attempt_at) where attempts > 0;
-- The check for ended grants can skip leases that have expired: they end anyway.
create index leases_usable_by_expiry on leases (expires_at) where status in ('creating', 'active');
-- Last, because reading leases waits from here to the end of the migration.
drop index leases_usable;
