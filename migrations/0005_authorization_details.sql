-- Rich authorization (RFC 9396): what details a resource takes, and those of each grant; null: it has none.
alter table resources add column authorization_details_types jsonb not null default '[]';
alter table grants add column authorization_details jsonb;
