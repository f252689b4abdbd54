-- With many leases that are due, three statements read all of them again and again. Leases that are retried have an index of
-- their own: there are few.
create index leases_tried on leases (connection_id, next_attempt_at) where attempts > 0;
-- Of the leases that are not being revoked, those that have expired need no look at their grants.
drop index leases_usable;
create index leases_usable on leases (expires_at) where status in ('creating', 'active');
